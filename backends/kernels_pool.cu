// Pooling over N x H x W x C. Neighbouring threads take neighbouring channels, so that all reads are contiguous.
//
// The backward passes gather: a thread makes one element of dx from the windows that cover it, in their order, so
// that nothing is added up by two threads and every run gives the same bits.
//
// Constants: KH KW SH SW, ADD. A place within a window is kept in a byte: KH * KW is at most 256.

#define POOL_PARAMETERS \
    int height, int width, int channels, int out_height, int out_width, int pad_height, int pad_width, int size

// y[n][oh][ow][c], and which place of its window each maximum came from: the first of several.
extern "C" __global__ void __launch_bounds__(256)
max_pool(const float* __restrict__ x, int x_stride, float* __restrict__ y, int y_stride, unsigned char* __restrict__ places,
         POOL_PARAMETERS, const Progress* progress, float slope, float scale, unsigned threshold, unsigned layer)
{
    int element = blockIdx.x * 256 + threadIdx.x;
    if (element >= size) return;
    int channel = element % channels, pixel = element / channels;
    int out_column = pixel % out_width, rest = pixel / out_width;
    int out_row = rest % out_height, image = rest / out_height;
    int top = out_row * SH - pad_height, left = out_column * SW - pad_width, place = -1;
    float best = 0.0f;
#pragma unroll
    for (int i = 0; i < KH; ++i)
#pragma unroll
        for (int j = 0; j < KW; ++j) {
            int row = top + i, column = left + j;
            if ((unsigned)row >= (unsigned)height || (unsigned)column >= (unsigned)width) continue;
            float value = x[((long long)(image * height + row) * width + column) * x_stride + channel];
            if (place < 0 || value > best) {
                best = value;
                place = i * KW + j;
            }
        }
    Finish finish = {slope, scale, threshold, layer};
    y[(long long)pixel * y_stride + channel] = finished(best, element, progress, finish);
    places[element] = (unsigned char)place;
}

// The windows that cover a place along one axis: from `first` to `last`.
__device__ __forceinline__ void covering(int place, int pad, int kernel, int step, int count, int& first, int& last)
{
    int reach = place + pad - kernel + 1;
    first = reach <= 0 ? 0 : (reach + step - 1) / step;
    last = min((place + pad) / step, count - 1);
}

#define GRADIENT_START \
    int element = blockIdx.x * 256 + threadIdx.x; \
    if (element >= size) return; \
    int channel = element % channels, pixel = element / channels; \
    int column = pixel % width, rest = pixel / width, row = rest % height, image = rest / height; \
    int first_row, last_row, first_column, last_column; \
    covering(row, pad_height, KH, SH, out_height, first_row, last_row); \
    covering(column, pad_width, KW, SW, out_width, first_column, last_column)

#define GRADIENT_END \
    if (ADD) value += other[(long long)pixel * other_stride + channel]; \
    float output = ACTIVATION != IDENTITY ? x[(long long)pixel * x_stride + channel] : 0.0f; \
    Finish finish = {slope, scale, threshold, layer}; \
    dx[(long long)pixel * dx_stride + channel] = value * slope_at(output, element, progress, finish)

extern "C" __global__ void __launch_bounds__(256)
max_pool_gradient(const float* __restrict__ dy, int dy_stride, const unsigned char* __restrict__ places, const float* other,
                  int other_stride, const float* __restrict__ x, int x_stride, float* dx, int dx_stride,
                  POOL_PARAMETERS, const Progress* progress, float slope, float scale, unsigned threshold,
                  unsigned layer)
{
    GRADIENT_START;
    float value = 0.0f;
    for (int i = first_row; i <= last_row; ++i)
        for (int j = first_column; j <= last_column; ++j) {
            int window = (image * out_height + i) * out_width + j;
            int place = (row + pad_height - i * SH) * KW + column + pad_width - j * SW;
            if ((int)places[(long long)window * channels + channel] == place)
                value += dy[(long long)window * dy_stride + channel];
        }
    GRADIENT_END;
}

// How many places of a window lie inside the image, along one axis.
__device__ __forceinline__ int inside(int window, int pad, int kernel, int step, int count)
{
    int first = window * step - pad;
    return min(first + kernel, count) - max(first, 0);
}

extern "C" __global__ void __launch_bounds__(256)
avg_pool(const float* __restrict__ x, int x_stride, float* __restrict__ y, int y_stride, POOL_PARAMETERS,
         const Progress* progress, float slope, float scale, unsigned threshold, unsigned layer)
{
    int element = blockIdx.x * 256 + threadIdx.x;
    if (element >= size) return;
    int channel = element % channels, pixel = element / channels;
    int out_column = pixel % out_width, rest = pixel / out_width;
    int out_row = rest % out_height, image = rest / out_height;
    int top = out_row * SH - pad_height, left = out_column * SW - pad_width;
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < KH; ++i)
#pragma unroll
        for (int j = 0; j < KW; ++j) {
            int row = top + i, column = left + j;
            if ((unsigned)row < (unsigned)height && (unsigned)column < (unsigned)width)
                sum += x[((long long)(image * height + row) * width + column) * x_stride + channel];
        }
    int count = inside(out_row, pad_height, KH, SH, height) * inside(out_column, pad_width, KW, SW, width);
    Finish finish = {slope, scale, threshold, layer};
    y[(long long)pixel * y_stride + channel] = finished(sum / (float)count, element, progress, finish);
}

extern "C" __global__ void __launch_bounds__(256)
avg_pool_gradient(const float* __restrict__ dy, int dy_stride, const float* other, int other_stride,
                  const float* __restrict__ x, int x_stride, float* dx, int dx_stride, POOL_PARAMETERS,
                  const Progress* progress, float slope, float scale, unsigned threshold, unsigned layer)
{
    GRADIENT_START;
    float value = 0.0f;
    for (int i = first_row; i <= last_row; ++i)
        for (int j = first_column; j <= last_column; ++j) {
            int window = (image * out_height + i) * out_width + j;
            int count = inside(i, pad_height, KH, SH, height) * inside(j, pad_width, KW, SW, width);
            value += dy[(long long)window * dy_stride + channel] / (float)count;
        }
    GRADIENT_END;
}

// The mean of each channel of an image. size: images x channels.
extern "C" __global__ void __launch_bounds__(256)
global_avg_pool(const float* __restrict__ x, int x_stride, float* __restrict__ y, int y_stride, int pixels,
                int channels, int size, const Progress* progress, float slope, float scale, unsigned threshold,
                unsigned layer)
{
    int element = blockIdx.x * 256 + threadIdx.x;
    if (element >= size) return;
    int channel = element % channels, image = element / channels;
    const float* from = x + (long long)image * pixels * x_stride + channel;
    float sum = 0.0f;
#pragma unroll 8
    for (int pixel = 0; pixel < pixels; ++pixel) sum += from[(long long)pixel * x_stride];
    Finish finish = {slope, scale, threshold, layer};
    y[(long long)image * y_stride + channel] = finished(sum / (float)pixels, element, progress, finish);
}

// size: elements of dx.
extern "C" __global__ void __launch_bounds__(256)
global_avg_pool_gradient(const float* __restrict__ dy, int dy_stride, const float* other, int other_stride,
                         const float* __restrict__ x, int x_stride, float* dx, int dx_stride, int pixels,
                         int channels, int size, const Progress* progress, float slope, float scale,
                         unsigned threshold, unsigned layer)
{
    int element = blockIdx.x * 256 + threadIdx.x;
    if (element >= size) return;
    int channel = element % channels, pixel = element / channels, image = pixel / pixels;
    float value = dy[(long long)image * dy_stride + channel] / (float)pixels;
    GRADIENT_END;
}
