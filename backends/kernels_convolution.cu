// Convolutions as matrix products without unfolded windows; a linear layer is one of 1 x 1 on images of one pixel.
//
// Images are N x H x W x C, with `stride` floats from pixel to pixel (more than C where channels of several layers
// share one array). The weight is kH x kW x I x O, so that its rows along O are what a product reads together.
// Products:
//   forward           y[pixel out][o]        = sum over (tap, i)     x[pixel in][i]  weight[tap, i][o]
//   input gradient    dx[pixel in][i]        = sum over (tap, o)     dy[pixel out][o] weight[tap, i][o]
//   weight gradient   dweight[tap, i][o]     = sum over pixels out   x[pixel in][i]  dy[pixel out][o]
// k can be shared out among blocks (`k_share` each, gridDim.z of them): then each writes its part of the sum, and the
// parts are added in a fixed order by whoever reads them. The order is the same in every run.
//
// Constants besides those of kernels_gemm.cu: KH KW SH SW DH DW (kernel, stride, dilation), POINTWISE (1 x 1, stride 1,
// no padding: pixels in and out are the same), SPLIT (k is shared out), STORE (elements of a row can be stored
// together), BIAS, ADD, POOL.

struct Shape {
    int height, width, channels;                 // of the input
    int out_height, out_width, out_channels;     // of the output
    int pad_height, pad_width;
    int pixels;                                  // of all outputs (forward, weight gradient) or inputs
};

#define SHAPE_PARAMETERS \
    int height, int width, int channels, int out_height, int out_width, int out_channels, int pad_height, \
    int pad_width, int pixels
#define SHAPE {height, width, channels, out_height, out_width, out_channels, pad_height, pad_width, pixels}

// Far enough outside that no tap brings it inside again.
#define NOWHERE (-(1 << 28))

// (tap, channel) from a k, advanced by BK at a time.
struct Tap {
    int row, column, channel;

    __device__ __forceinline__ void start(int k, int channels)
    {
        int tap = POINTWISE ? 0 : k / channels;
        row = tap / KW;
        column = tap % KW;
        channel = k - tap * channels;
    }

    __device__ __forceinline__ void advance(int channels)
    {
        channel += BK;
        if (!POINTWISE)
            while (channel >= channels) {
                channel -= channels;
                if (++column == KW) {
                    column = 0;
                    ++row;
                }
            }
    }
};

// Row `m` of the product as a pixel of the output. With POOL four rows make a pooling window, so that a thread holds
// it whole; `out_height` and `out_width` are then those of the pooled output.
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
#pragma unroll
            for (int v = 0; v < VA; ++v) values[pass][v] = 0.0f;
            if (offset >= 0 && at < k_end) load<VA>(values[pass], x + offset);
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
#pragma unroll
            for (int v = 0; v < VB; ++v) values[pass][v] = 0.0f;
            int row = at + k(pass);
            if (row < k_end && column < columns) load<VB>(values[pass], weight + row * columns + column);
        }
        at += BK;
    }
};

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
#pragma unroll
            for (int v = 0; v < VA; ++v) values[pass][v] = 0.0f;
            if (offset >= 0 && at < k_end) load<VA>(values[pass], dy + offset);
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
#pragma unroll
            for (int v = 0; v < VB; ++v) values[pass][v] = 0.0f;
            int channel = first + side(pass);
            if (at < k_end && channel < shape.channels)
                load<VB>(values[pass], weight + (rows + channel) * shape.out_channels + tap.channel);
        }
        at += BK;
        tap.advance(shape.out_channels);
    }
};

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

// Writes a block's part of a sum that is finished elsewhere.
struct Parts {
    float* to;
    int first_row, first_column, rows, columns;

    __device__ __forceinline__ void row(int row, int column, const float* values)
    {
        row += first_row;
        column += first_column;
        if (row < rows && column < columns) store<STORE>(to + row * columns + column, values, columns - column);
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
            float value = values[i] + (ADD && there ? other[row * other_stride + column + i] : 0.0f);
            if (ACTIVATION != IDENTITY || DROPOUT) {
                float output = ACTIVATION != IDENTITY && there ? x[row * x_stride + column + i] : 0.0f;
                value *= slope_at(output, (long long)row * columns + column + i, progress, finish);
            }
            made[i] = value;
        }
        store<STORE>(dx + row * stride + column, made, columns - column);
    }
};

extern "C" __global__ void __launch_bounds__(THREADS)
convolution_forward(const float* __restrict__ x, int x_stride, const float* __restrict__ weight,
                    const float* __restrict__ bias, float* __restrict__ y, int y_stride, SHAPE_PARAMETERS,
                    int k_share, const Progress* progress, float slope, float scale, unsigned threshold,
                    unsigned layer)
{
    Shape shape = SHAPE;
    int rows = blockIdx.x * BM, columns = blockIdx.y * BN, begin = blockIdx.z * k_share;
    int end = min(KH * KW * shape.channels, begin + k_share);
    Product product;
    Windows a(x, x_stride, shape, rows, begin, end);
    Weights b(weight, shape, columns, begin, end);
    NoSums none;
    multiply(product, a, b, none, begin, end);
#if SPLIT
    float* part = y + (long long)blockIdx.z * shape.pixels * shape.out_channels;
    Parts parts = {part, rows, columns, shape.pixels, shape.out_channels};
    product.visit(parts);
#else
    Finish finish = {slope, scale, threshold, layer};
    Outputs outputs = {y, y_stride, bias, progress, finish, rows, columns, shape.pixels, shape.out_channels};
    product.visit(outputs);
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS)
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
    NoSums none;
    multiply(product, a, b, none, begin, end);
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

// The parts of a parameter's gradient lie `part_stride` floats apart; the bias is the last row of its weight.
extern "C" __global__ void __launch_bounds__(THREADS)
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
