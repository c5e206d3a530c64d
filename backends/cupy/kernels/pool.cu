// Pooling over N x H x W x C. A thread takes VC neighbouring channels, 4 where they can be read at once: finding out which
// pixel it is at takes longer than what it does there. Neighbouring threads take neighbouring channels.
//
// The backward passes gather: a thread makes one element of dx from the windows that cover it, in their order, so
// that nothing is added up by two threads and every run gives the same bits.
//
// Constants: KH KW SH SW, VC. A place within a window is kept in a byte: KH * KW is at most 256. Windows may reach beyond
// the padding: that never wins and never counts.
//
// TOP BOTTOM LEFT RIGHT: places of the padding that count in a mean.
#ifndef TOP
#define TOP 0
#define BOTTOM 0
#define LEFT 0
#define RIGHT 0
#endif

#define POOL_PARAMETERS \
    int height, int width, int channels, int out_height, int out_width, int pad_height, int pad_width, int size

// `size`: elements of the array that the kernel writes, VC of them a thread.
#define START \
    int element = (blockIdx.x * THREADS + threadIdx.x) * VC; \
    if (element >= size) return; \
    int channel = element % channels, pixel = element / channels; \
    Finish finish = {slope, scale, threshold, layer}

#define WINDOW_START \
    START; \
    int out_column = pixel % out_width, rest = pixel / out_width; \
    int out_row = rest % out_height, image = rest / out_height; \
    int top = out_row * SH - pad_height, left = out_column * SW - pad_width

__device__ __forceinline__ void put(float* to, float* values, long long element, const Progress* progress,
                                    Finish finish)
{
#pragma unroll
    for (int v = 0; v < VC; ++v) values[v] = finished(values[v], element + v, progress, finish);
    save<VC>(to, values);
}

// y[n][oh][ow][c], and which place of its window each maximum came from: the first of several.
extern "C" __global__ void __launch_bounds__(THREADS)
max_pool(const float* __restrict__ x, int x_stride, float* __restrict__ y, int y_stride,
         unsigned char* __restrict__ places, POOL_PARAMETERS, const Progress* progress, float slope, float scale,
         unsigned threshold, unsigned layer)
{
    WINDOW_START;
    float best[VC], values[VC];
    int place[VC], found = 0;
#pragma unroll
    for (int i = 0; i < KH; ++i)
#pragma unroll
        for (int j = 0; j < KW; ++j) {
            int row = top + i, column = left + j;
            if ((unsigned)row >= (unsigned)height || (unsigned)column >= (unsigned)width) continue;
            load<VC>(values, x + ((long long)(image * height + row) * width + column) * x_stride + channel);
#pragma unroll
            for (int v = 0; v < VC; ++v)
                if (!found || beats(values[v], best[v])) {
                    best[v] = values[v];
                    place[v] = i * KW + j;
                }
            found = 1;
        }
    put(y + (long long)pixel * y_stride + channel, best, element, progress, finish);
#pragma unroll
    for (int v = 0; v < VC; ++v) places[element + v] = (unsigned char)place[v];
}

// The windows that cover a place along one axis: from `first` to `last`.
__device__ __forceinline__ void covering(int place, int pad, int kernel, int step, int count, int& first, int& last)
{
    int reach = place + pad - kernel + 1;
    first = reach <= 0 ? 0 : (reach + step - 1) / step;
    last = min((place + pad) / step, count - 1);
}

#define GRADIENT_START \
    START; \
    int column = pixel % width, rest = pixel / width, row = rest % height, image = rest / height; \
    int first_row, last_row, first_column, last_column; \
    covering(row, pad_height, KH, SH, out_height, first_row, last_row); \
    covering(column, pad_width, KW, SW, out_width, first_column, last_column); \
    float gradients[VC], sums[VC]; \
    for (int v = 0; v < VC; ++v) sums[v] = 0.0f

#define GRADIENT_END \
    float others[VC], outputs[VC]; \
    if (ADD) load<VC>(others, other + (long long)pixel * other_stride + channel); \
    if (ACTIVATION != IDENTITY) load<VC>(outputs, x + (long long)pixel * x_stride + channel); \
    for (int v = 0; v < VC; ++v) \
        sums[v] = undone(sums[v], others + v, outputs + v, element + v, progress, finish); \
    save<VC>(dx + (long long)pixel * dx_stride + channel, sums)

extern "C" __global__ void __launch_bounds__(THREADS)
max_pool_gradient(const float* __restrict__ dy, int dy_stride, const unsigned char* __restrict__ places,
                  const float* other, int other_stride, const float* __restrict__ x, int x_stride, float* dx,
                  int dx_stride, POOL_PARAMETERS, const Progress* progress, float slope, float scale,
                  unsigned threshold, unsigned layer)
{
    GRADIENT_START;
    for (int i = first_row; i <= last_row; ++i)
        for (int j = first_column; j <= last_column; ++j) {
            int window = (image * out_height + i) * out_width + j;
            int place = (row + pad_height - i * SH) * KW + column + pad_width - j * SW;
            const unsigned char* from = places + (long long)window * channels + channel;
            load<VC>(gradients, dy + (long long)window * dy_stride + channel);
#pragma unroll
            for (int v = 0; v < VC; ++v)
                if (from[v] == place) sums[v] += gradients[v];
        }
    GRADIENT_END;
}

// How many places of a window lie inside the image and what counts of its padding, along one axis.
__device__ __forceinline__ int inside(int window, int pad, int kernel, int step, int count, int before, int after)
{
    int first = window * step - pad;
    return min(first + kernel, count + after) - max(first, -before);
}

#define COUNTED(row, column) \
    (inside(row, pad_height, KH, SH, height, TOP, BOTTOM) * inside(column, pad_width, KW, SW, width, LEFT, RIGHT))

extern "C" __global__ void __launch_bounds__(THREADS)
avg_pool(const float* __restrict__ x, int x_stride, float* __restrict__ y, int y_stride, POOL_PARAMETERS,
         const Progress* progress, float slope, float scale, unsigned threshold, unsigned layer)
{
    WINDOW_START;
    float sums[VC], values[VC];
    for (int v = 0; v < VC; ++v) sums[v] = 0.0f;
#pragma unroll
    for (int i = 0; i < KH; ++i)
#pragma unroll
        for (int j = 0; j < KW; ++j) {
            int row = top + i, column = left + j;
            if ((unsigned)row >= (unsigned)height || (unsigned)column >= (unsigned)width) continue;
            load<VC>(values, x + ((long long)(image * height + row) * width + column) * x_stride + channel);
            for (int v = 0; v < VC; ++v) sums[v] += values[v];
        }
    int count = COUNTED(out_row, out_column);
    for (int v = 0; v < VC; ++v) sums[v] /= (float)count;
    put(y + (long long)pixel * y_stride + channel, sums, element, progress, finish);
}

extern "C" __global__ void __launch_bounds__(THREADS)
avg_pool_gradient(const float* __restrict__ dy, int dy_stride, const float* other, int other_stride,
                  const float* __restrict__ x, int x_stride, float* dx, int dx_stride, POOL_PARAMETERS,
                  const Progress* progress, float slope, float scale, unsigned threshold, unsigned layer)
{
    GRADIENT_START;
    for (int i = first_row; i <= last_row; ++i)
        for (int j = first_column; j <= last_column; ++j) {
            int window = (image * out_height + i) * out_width + j;
            int count = COUNTED(i, j);
            // To two units in the last place: a division as exact as others calls a function, and registers are spilled
            // around that.
            float part = __fdividef(1.0f, (float)count);
            load<VC>(gradients, dy + (long long)window * dy_stride + channel);
            for (int v = 0; v < VC; ++v) sums[v] = fmaf(gradients[v], part, sums[v]);
        }
    GRADIENT_END;
}

// The mean of each channel of an image. size: images x channels.
extern "C" __global__ void __launch_bounds__(THREADS)
global_avg_pool(const float* __restrict__ x, int x_stride, float* __restrict__ y, int y_stride, int pixels,
                int channels, int size, const Progress* progress, float slope, float scale, unsigned threshold,
                unsigned layer)
{
    START;
    const float* from = x + (long long)pixel * pixels * x_stride + channel;
    float sums[VC], values[VC];
    for (int v = 0; v < VC; ++v) sums[v] = 0.0f;
#pragma unroll 8
    for (int i = 0; i < pixels; ++i) {
        load<VC>(values, from + (long long)i * x_stride);
        for (int v = 0; v < VC; ++v) sums[v] += values[v];
    }
    for (int v = 0; v < VC; ++v) sums[v] /= (float)pixels;
    put(y + (long long)pixel * y_stride + channel, sums, element, progress, finish);
}

// size: elements of dx.
extern "C" __global__ void __launch_bounds__(THREADS)
global_avg_pool_gradient(const float* __restrict__ dy, int dy_stride, const float* other, int other_stride,
                         const float* __restrict__ x, int x_stride, float* dx, int dx_stride, int pixels,
                         int channels, int size, const Progress* progress, float slope, float scale,
                         unsigned threshold, unsigned layer)
{
    START;
    float sums[VC];
    load<VC>(sums, dy + (long long)(pixel / pixels) * dy_stride + channel);
    for (int v = 0; v < VC; ++v) sums[v] /= (float)pixels;
    GRADIENT_END;
}
