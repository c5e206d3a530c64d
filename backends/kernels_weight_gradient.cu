// The weight gradient of kernels_convolution.cu. Constant: BIAS.

// A of the weight gradient: for each output pixel, the inputs under the tile's (tap, i).
struct TurnedWindows : AlongSide<BM, VA> {
    const float* x;
    const Shape& shape;
    int stride, k_end, at;
    int tap_row, tap_column, channel;
    int base[PASSES], out_row[PASSES], out_column[PASSES];

    __device__ __forceinline__ TurnedWindows(const float* x, int stride, const Shape& shape, int first, int begin,
                                             int end)
        : x(x), shape(shape), stride(stride), k_end(end), at(begin)
    {
        int index = first + side(), tap = index / shape.channels;
        bool there = index < KH * KW * shape.channels;
        channel = index - tap * shape.channels;
        tap_row = there ? tap / KW * DH - shape.pad_height : NOWHERE;
        tap_column = tap % KW * DW - shape.pad_width;
        if (!POINTWISE)
#pragma unroll
            for (int pass = 0; pass < PASSES; ++pass) {
                int pixel = at + k(pass), rest = pixel / shape.out_width, image = rest / shape.out_height;
                out_column[pass] = pixel - rest * shape.out_width;
                out_row[pass] = rest - image * shape.out_height;
                base[pass] = image * shape.height * shape.width * stride;
            }
    }

    __device__ __forceinline__ void fetch()
    {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            int offset = -1, pixel = at + k(pass);
            if (POINTWISE) {
                if (tap_row >= 0) offset = pixel * stride + channel;
            } else {
                int row = out_row[pass] * SH + tap_row, column = out_column[pass] * SW + tap_column;
                if ((unsigned)row < (unsigned)shape.height && (unsigned)column < (unsigned)shape.width)
                    offset = base[pass] + (row * shape.width + column) * stride + channel;
                out_column[pass] += BK;
                while (out_column[pass] >= shape.out_width) {
                    out_column[pass] -= shape.out_width;
                    if (++out_row[pass] == shape.out_height) {
                        out_row[pass] = 0;
                        base[pass] += shape.height * shape.width * stride;
                    }
                }
            }
#pragma unroll
            for (int v = 0; v < VA; ++v) values[pass][v] = 0.0f;
            if (offset >= 0 && pixel < k_end) load<VA>(values[pass], x + offset);
        }
        at += BK;
    }
};

// B of the weight gradient: the output pixels' gradients.
struct Gradients : AlongSide<BN, VB> {
    const float* dy;
    int stride, columns, k_end, at, column;

    __device__ __forceinline__ Gradients(const float* dy, int stride, const Shape& shape, int first, int begin,
                                         int end)
        : dy(dy), stride(stride), columns(shape.out_channels), k_end(end), at(begin), column(first + side())
    {
    }

    __device__ __forceinline__ void fetch()
    {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
#pragma unroll
            for (int v = 0; v < VB; ++v) values[pass][v] = 0.0f;
            int pixel = at + k(pass);
            if (pixel < k_end && column < columns) load<VB>(values[pass], dy + pixel * stride + column);
        }
        at += BK;
    }
};

// The parts of a parameter's gradient lie `part_stride` floats apart; the bias is the last row of its weight.
extern "C" __global__ void __launch_bounds__(THREADS, LEAST_BLOCKS)
convolution_weight_gradient(const float* __restrict__ x, int x_stride, const float* __restrict__ dy, int dy_stride,
                            float* __restrict__ parts, int part_stride, SHAPE_PARAMETERS, int k_share)
{
    Shape shape = SHAPE;
    int rows = blockIdx.x * BM, columns = blockIdx.y * BN, begin = blockIdx.z * k_share;
    int end = min(shape.pixels, begin + k_share), taps = KH * KW * shape.channels;
    float* part = parts + (long long)blockIdx.z * part_stride;
    Product product;
    TurnedWindows a(x, x_stride, shape, rows, begin, end);
    Gradients b(dy, dy_stride, shape, columns, begin, end);
#if BIAS
    int column = columns + (int)threadIdx.x;
    ColumnSums sums = {blockIdx.x == 0 && threadIdx.x < BN, 0.0f};
    multiply(product, a, b, sums, begin, end);
    if (sums.wanted && column < shape.out_channels) part[taps * shape.out_channels + column] = sums.sum;
#else
    NoSums sums;
    multiply(product, a, b, sums, begin, end);
#endif
    Parts weights = {part, rows, columns, taps, shape.out_channels};
    product.visit(weights);
}
