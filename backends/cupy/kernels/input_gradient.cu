// The input gradient of convolution.cu.

// A of the input gradient: the output pixels whose windows cover the tile's input pixels.
struct Covering : AlongK<BM, VA> {
    const float* dy;
    const Shape& shape;
    int stride, k_end, at;
    Tap tap;
    int base[PASSES], bottom[PASSES], right[PASSES];

    __device__ __forceinline__ Covering(const float* dy, int stride, const Shape& shape, int first, int begin, int end)
        : dy(dy), shape(shape), stride(stride), k_end(end), at(begin + k())
    {
        tap.start(at, shape.out_channels);
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            int m = first + side(pass);
            bool there = m < shape.pixels;
            if (POINTWISE) {
                base[pass] = there ? m * stride : -1;
                continue;
            }
            int rest = m / shape.width, image = rest / shape.height;
            base[pass] = image * shape.out_height * shape.out_width * stride;
            bottom[pass] = there ? rest - image * shape.height + shape.pad_height : NOWHERE;
            right[pass] = m - rest * shape.width + shape.pad_width;
        }
    }

    __device__ __forceinline__ void fetch()
    {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            int offset = -1;
            if (POINTWISE) {
                if (base[pass] >= 0) offset = base[pass] + tap.channel;
            } else {
                int row = bottom[pass] - tap.row * DH, column = right[pass] - tap.column * DW;
                bool met = row >= 0 && column >= 0 && row % SH == 0 && column % SW == 0;
                row /= SH;
                column /= SW;
                if (met && row < shape.out_height && column < shape.out_width)
                    offset = base[pass] + (row * shape.out_width + column) * stride + tap.channel;
            }
            load_or_zero<VA>(values[pass], dy, at < k_end ? offset : -1);
        }
        at += BK;
        tap.advance(shape.out_channels);
    }
};

// B of the input gradient: the weight turned over, B[(tap, o)][i] = weight[tap][i][o].
struct TurnedWeights : AlongK<BN, VB> {
    const float* weight;
    const Shape& shape;
    int first, k_end, at;
    Tap tap;

    __device__ __forceinline__ TurnedWeights(const float* weight, const Shape& shape, int first, int begin, int end)
        : weight(weight), shape(shape), first(first), k_end(end), at(begin + k())
    {
        tap.start(at, shape.out_channels);
    }

    __device__ __forceinline__ void fetch()
    {
        int rows = (tap.row * KW + tap.column) * shape.channels;
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            int channel = first + side(pass), offset = (rows + channel) * shape.out_channels + tap.channel;
            load_or_zero<VB>(values[pass], weight, at < k_end && channel < shape.channels ? offset : -1);
        }
        at += BK;
        tap.advance(shape.out_channels);
    }
};

// Writes gradients of an input: what another path brought is added, then the input's own activation undone.
struct InputGradients {
    float* dx;
    int stride;
    const float* other;
    int other_stride;
    const float* x;
    int x_stride;
    const Progress* progress;
    Finish finish;
    int first_row, first_column, rows, columns;

    __device__ __forceinline__ void row(int row, int column, const float* values)
    {
        row += first_row;
        column += first_column;
        if (row >= rows || column >= columns) return;
        float made[WIDTH];
#pragma unroll
        for (int i = 0; i < WIDTH; ++i) {
            bool there = STORE || column + i < columns;
            long long element = (long long)row * columns + column + i;
            const float *added = other + (long long)row * other_stride + column + i;
            const float *known = x + (long long)row * x_stride + column + i;
            made[i] = there ? undone(values[i], added, known, element, progress, finish) : 0.0f;
        }
        store<STORE>(dx + row * stride + column, made, columns - column);
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, LEAST_BLOCKS)
convolution_input_gradient(const float* __restrict__ dy, int dy_stride, const float* __restrict__ weight, float* dx,
                           int dx_stride, const float* other, int other_stride, const float* __restrict__ x,
                           int x_stride, SHAPE_PARAMETERS, int k_share, const Progress* progress, float slope,
                           float scale, unsigned threshold, unsigned layer)
{
    Shape shape = SHAPE;
    int rows = blockIdx.x * BM, columns = blockIdx.y * BN, begin = blockIdx.z * k_share;
    int end = min(KH * KW * shape.out_channels, begin + k_share);
    Product product;
    Covering a(dy, dy_stride, shape, rows, begin, end);
    TurnedWeights b(weight, shape, columns, begin, end);
    multiply(product, a, b, begin, end);
#if SPLIT
    float* part = dx + (long long)blockIdx.z * shape.pixels * shape.channels;
    Parts parts = {part, rows, columns, shape.pixels, shape.channels};
    product.visit(parts);
#else
    Finish finish = {slope, scale, threshold, layer};
    InputGradients gradients = {dx,       dx_stride, other, other_stride, x,           x_stride,
                                progress, finish,    rows,  columns,      shape.pixels, shape.channels};
    product.visit(gradients);
#endif
}
