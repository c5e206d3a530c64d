// What is done element by element: activations and sums that no other kernel could finish, and moves.
//
// A thread takes one element of rows x columns; rows may lie further apart than their columns are many.
//
// Constants for `subsample`: SH SW.

#define ELEMENT \
    long long element = (long long)blockIdx.x * THREADS + threadIdx.x; \
    if (element >= (long long)rows * columns) return; \
    int row = (int)(element / columns), column = (int)(element - (long long)row * columns)

// y = finished(x), or of the sum with another value.
extern "C" __global__ void __launch_bounds__(THREADS)
apply(const float* x, int x_stride, const float* other, int other_stride, float* y, int y_stride, int rows,
      int columns, const Progress* progress, float slope, float scale, unsigned threshold, unsigned layer)
{
    ELEMENT;
    Finish finish = {slope, scale, threshold, layer};
    float value = x[(long long)row * x_stride + column];
    if (ADD) value += other[(long long)row * other_stride + column];
    y[(long long)row * y_stride + column] = finished(value, element, progress, finish);
}

// dx from dy (and what another path brought): undoes the activation of x, which is what x was before it.
extern "C" __global__ void __launch_bounds__(THREADS)
apply_gradient(const float* dy, int dy_stride, const float* other, int other_stride, const float* x, int x_stride,
               float* dx, int dx_stride, int rows, int columns, const Progress* progress, float slope, float scale,
               unsigned threshold, unsigned layer)
{
    ELEMENT;
    Finish finish = {slope, scale, threshold, layer};
    dx[(long long)row * dx_stride + column] =
        undone(dy[(long long)row * dy_stride + column], other + (long long)row * other_stride + column,
               x + (long long)row * x_stride + column, element, progress, finish);
}

// Every SH-th row and SW-th column of an image, and zeros for channels it has not got.
extern "C" __global__ void __launch_bounds__(THREADS)
subsample(const float* __restrict__ x, int x_stride, int height, int width, int channels, float* __restrict__ y,
          int y_stride, int out_height, int out_width, int rows, int columns, const Progress* progress, float slope,
          float scale, unsigned threshold, unsigned layer)
{
    ELEMENT;
    Finish finish = {slope, scale, threshold, layer};
    float value = 0.0f;
    if (column < channels) {
        int out_column = row % out_width, rest = row / out_width;
        int out_row = rest % out_height, image = rest / out_height;
        value = x[((long long)(image * height + out_row * SH) * width + out_column * SW) * x_stride + column];
    }
    y[(long long)row * y_stride + column] = finished(value, element, progress, finish);
}

// rows, columns: those of dx.
extern "C" __global__ void __launch_bounds__(THREADS)
subsample_gradient(const float* dy, int dy_stride, int out_height, int out_width, const float* other,
                   int other_stride, const float* x, int x_stride, int height, int width, float* dx, int dx_stride,
                   int rows, int columns, const Progress* progress, float slope, float scale, unsigned threshold,
                   unsigned layer)
{
    ELEMENT;
    Finish finish = {slope, scale, threshold, layer};
    int in_column = row % width, rest = row / width, in_row = rest % height, image = rest / height;
    float value = 0.0f;
    if (in_row % SH == 0 && in_column % SW == 0)
        value = dy[((long long)(image * out_height + in_row / SH) * out_width + in_column / SW) * dy_stride + column];
    dx[(long long)row * dx_stride + column] =
        undone(value, other + (long long)row * other_stride + column, x + (long long)row * x_stride + column, element,
               progress, finish);
}

// Exchanges the two axes of each sample: columns = one x two becomes two x one. What turns features in the order
// H x W x C into the canonical C x H x W, and back.
extern "C" __global__ void __launch_bounds__(THREADS)
exchange_axes(const float* __restrict__ x, int x_stride, float* __restrict__ y, int y_stride, int one, int two,
              int rows, int columns)
{
    ELEMENT;
    int of_two = column / one, of_one = column - of_two * one;
    y[(long long)row * y_stride + column] = x[(long long)row * x_stride + of_one * two + of_two];
}
