// The weight gradient of convolution.cu. Constant: BIAS.

// A of the weight gradient: for each output pixel, the inputs under the tile's (tap, i).
struct TurnedWindows : AlongSide<BM, VA> {
    const float* x;
    const Shape& shape;
    int stride, k_end, at;
    int tap_row, tap_column, channel;
    int base[PASSES], out_row[PASSES], out_column[PASSES];
    // What BK pixels on means: each carries once at the most.
    int more_images, more_rows, more_columns;

    __device__ __forceinline__ TurnedWindows(const float* x, int stride, const Shape& shape, int first, int begin,
                                             int end)
        : x(x), shape(shape), stride(stride), k_end(end), at(begin)
    {
        int index = first + side(), tap = index / shape.channels;
        bool there = index < KH * KW * shape.channels;
        channel = index - tap * shape.channels;
        tap_row = there ? tap / KW * DH - shape.pad_height : NOWHERE;
        tap_column = tap % KW * DW - shape.pad_width;
        if (POINTWISE) return;
        more_columns = BK % shape.out_width;
        more_rows = BK / shape.out_width % shape.out_height;
        more_images = BK / shape.out_width / shape.out_height;
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            int pixel = at + k(pass), rest = pixel / shape.out_width, image = rest / shape.out_height;
            out_column[pass] = pixel - rest * shape.out_width;
            out_row[pass] = rest - image * shape.out_height;
            base[pass] = image * image_size();
        }
    }

    __device__ __forceinline__ int image_size() const { return shape.height * shape.width * stride; }

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
                out_column[pass] += more_columns;
                out_row[pass] += more_rows;
                base[pass] += more_images * image_size();
                if (out_column[pass] >= shape.out_width) {
                    out_column[pass] -= shape.out_width;
                    ++out_row[pass];
                }
                if (out_row[pass] >= shape.out_height) {
                    out_row[pass] -= shape.out_height;
                    base[pass] += image_size();
                }
            }
            load_or_zero<VA>(values[pass], x, pixel < k_end ? offset : -1);
        }
        at += BK;
    }
};

// B of the weight gradient: the output pixels' gradients. The bias' gradient is their sum, of what was read: rounding
// is for the factors of products.
struct Gradients : AlongSide<BN, VB> {
    const float* dy;
    int stride, columns, k_end, at, column;
    float sums[VB];

    __device__ __forceinline__ Gradients(const float* dy, int stride, const Shape& shape, int first, int begin,
                                         int end)
        : dy(dy), stride(stride), columns(shape.out_channels), k_end(end), at(begin), column(first + side())
    {
#pragma unroll
        for (int v = 0; v < VB; ++v) sums[v] = 0.0f;
    }

    __device__ __forceinline__ void fetch()
    {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            int pixel = at + k(pass);
            load_or_zero<VB>(values[pass], dy, pixel < k_end && column < columns ? pixel * stride + column : -1);
        }
        at += BK;
    }

    __device__ __forceinline__ void put(float* tile)
    {
        AlongSide<BN, VB>::put(tile);
        // The blocks of the first rows are enough: all of a column read the same.
        if (!BIAS || blockIdx.x) return;
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass)
            if (takes(pass))
#pragma unroll
                for (int v = 0; v < VB; ++v) sums[v] += values[pass][v];
    }

    // The sum of each of the tile's columns: of those of the threads that read it, in their order.
    __device__ __forceinline__ void store_sums(float* to, int first)
    {
        __shared__ float others[THREADS * VB];
#pragma unroll
        for (int v = 0; v < VB; ++v) others[(int)threadIdx.x * VB + v] = sums[v];
        __syncthreads();
        int own = threadIdx.x;
        if (own < BN && first + own < columns) {
            float sum = 0.0f;
            for (int i = own; i < THREADS * VB; i += BN) sum += others[i];
            to[first + own] = sum;
        }
    }
};

// The parts of a parameter's gradient lie `part_stride` floats apart; the bias is the last row of its weight. Of
// the tiles for tensor cores, too, the compiler would squeeze some until they spill (see LEAST_BLOCKS).
extern "C" __global__ void __launch_bounds__(THREADS, LEAST_BLOCKS + TF32)
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
    multiply(product, a, b, begin, end);
    if (BIAS && blockIdx.x == 0) b.store_sums(part + taps * shape.out_channels, columns);
    Parts weights = {part, rows, columns, taps, shape.out_channels};
    product.visit(weights);
}
