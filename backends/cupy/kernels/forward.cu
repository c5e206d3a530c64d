// The forward product of convolution.cu. Constants: BIAS, POOL (not with POINTWISE).
//
// With POOL the largest of each 2 x 2 outputs is taken before anything is written: a quarter of the output goes to
// memory, and none of it has to be read again. `out_height` and `out_width` are then those of the pooled output, and
// `pixels` is four for each of its pixels.

static_assert(!(POOL && POINTWISE), "the rows of windows are not in the order of the input's pixels");

// Row `m` of the product as a pixel of the output. With POOL four rows make a pooling window, so that a thread holds
// it whole.
__device__ __forceinline__ void output_pixel(const Shape& shape, int m, int& image, int& row, int& column)
{
#if POOL
    int window = m >> 2, place = m & 3;
    column = window % shape.out_width;
    window /= shape.out_width;
    row = window % shape.out_height;
    image = window / shape.out_height;
    row = 2 * row + (place >> 1);
    column = 2 * column + (place & 1);
#else
    column = m % shape.out_width;
    m /= shape.out_width;
    row = m % shape.out_height;
    image = m / shape.out_height;
#endif
}

// A of the forward product: what the windows of the tile's output pixels cover.
struct Windows : AlongK<BM, VA> {
    const float* x;
    const Shape& shape;
    int stride, k_end, at;
    Tap tap;
    int base[PASSES], top[PASSES], left[PASSES];

    __device__ __forceinline__ Windows(const float* x, int stride, const Shape& shape, int first, int begin, int end)
        : x(x), shape(shape), stride(stride), k_end(end), at(begin + k())
    {
        tap.start(at, shape.channels);
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            int m = first + side(pass), image = 0, row = 0, column = 0;
            bool there = m < shape.pixels;
            if (POINTWISE) {
                base[pass] = there ? m * stride : -1;
                continue;
            }
            if (there) output_pixel(shape, m, image, row, column);
            base[pass] = image * shape.height * shape.width * stride;
            top[pass] = there ? row * SH - shape.pad_height : NOWHERE;
            left[pass] = column * SW - shape.pad_width;
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
                int row = top[pass] + tap.row * DH, column = left[pass] + tap.column * DW;
                if ((unsigned)row < (unsigned)shape.height && (unsigned)column < (unsigned)shape.width)
                    offset = base[pass] + (row * shape.width + column) * stride + tap.channel;
            }
            load_or_zero<VA>(values[pass], x, at < k_end ? offset : -1);
        }
        at += BK;
        tap.advance(shape.channels);
    }
};

// B of the forward product: rows (tap, i) of the weight.
struct Weights : AlongSide<BN, VB> {
    const float* weight;
    int columns, k_end, at, column;

    __device__ __forceinline__ Weights(const float* weight, const Shape& shape, int first, int begin, int end)
        : weight(weight), columns(shape.out_channels), k_end(end), at(begin), column(first + side())
    {
    }

    __device__ __forceinline__ void fetch()
    {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            int row = at + k(pass);
            load_or_zero<VB>(values[pass], weight, row < k_end && column < columns ? row * columns + column : -1);
        }
        at += BK;
    }
};

// Writes outputs: bias, activation, dropout.
struct Outputs {
    float* y;
    int stride;
    const float* bias;
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
            float value = values[i] + (BIAS && there ? bias[column + i] : 0.0f);
            made[i] = finished(value, (long long)row * columns + column + i, progress, finish);
        }
        store<STORE>(y + row * stride + column, made, columns - column);
    }
};

// Writes the largest of each window, and which it was: the first of several.
struct PooledOutputs {
    float* y;
    int stride;
    unsigned char* places;
    const float* bias;
    const Progress* progress;
    Finish finish;
    int first_row, first_column, rows, columns;

    __device__ __forceinline__ void window(int row, int column, const float* at0, const float* at1, const float* at2,
                                           const float* at3)
    {
        row += first_row;
        column += first_column;
        if (row >= rows || column >= columns) return;
        row /= 4;
        float made[WIDTH];
#pragma unroll
        for (int i = 0; i < WIDTH; ++i) {
            bool there = STORE || column + i < columns;
            float shift = BIAS && there ? bias[column + i] : 0.0f;
            // The bias first: rounding may make equals of what differed without it.
            const float values[4] = {at0[i] + shift, at1[i] + shift, at2[i] + shift, at3[i] + shift};
            float best = values[0];
            int place = 0;
#pragma unroll
            for (int other = 1; other < 4; ++other)
                if (beats(values[other], best)) {
                    best = values[other];
                    place = other;
                }
            made[i] = finished(best, (long long)row * columns + column + i, progress, finish);
            if (there) places[(long long)row * columns + column + i] = (unsigned char)place;
        }
        store<STORE>(y + (long long)row * stride + column, made, columns - column);
    }
};

#if POOL
#define PLACES_PARAMETER unsigned char* __restrict__ places,
#else
#define PLACES_PARAMETER
#endif

extern "C" __global__ void __launch_bounds__(THREADS, LEAST_BLOCKS)
convolution_forward(const float* __restrict__ x, int x_stride, const float* __restrict__ weight,
                    const float* __restrict__ bias, float* __restrict__ y, int y_stride,
                    PLACES_PARAMETER SHAPE_PARAMETERS, int k_share, const Progress* progress, float slope,
                    float scale, unsigned threshold, unsigned layer)
{
    Shape shape = SHAPE;
    int rows = blockIdx.x * BM, columns = blockIdx.y * BN, begin = blockIdx.z * k_share;
    int end = min(KH * KW * shape.channels, begin + k_share);
    Product product;
    Windows a(x, x_stride, shape, rows, begin, end);
    Weights b(weight, shape, columns, begin, end);
    multiply(product, a, b, begin, end);
#if SPLIT
    float* part = y + (long long)blockIdx.z * shape.pixels * shape.out_channels;
    Parts parts = {part, rows, columns, shape.pixels, shape.out_channels};
    product.visit(parts);
#elif POOL
    Finish finish = {slope, scale, threshold, layer};
    PooledOutputs outputs = {y,      y_stride, places,  bias,         progress,
                             finish, rows,     columns, shape.pixels, shape.out_channels};
    product.visit_windows(outputs);
#else
    Finish finish = {slope, scale, threshold, layer};
    Outputs outputs = {y, y_stride, bias, progress, finish, rows, columns, shape.pixels, shape.out_channels};
    product.visit(outputs);
#endif
}
