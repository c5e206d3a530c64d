// Matrix products whose sum several blocks shared out (see convolution.cu) end here: a thread adds the parts
// of one element, always in the same order, and finishes it.
//
// Constant: BIAS.

// The end of a forward product whose k was shared out: adds the parts in order.
extern "C" __global__ void __launch_bounds__(THREADS)
finish_forward(const float* __restrict__ parts, int shares, int rows, int columns, const float* __restrict__ bias,
               float* __restrict__ y, int y_stride, const Progress* progress, float slope, float scale,
               unsigned threshold, unsigned layer)
{
    long long size = (long long)rows * columns, element = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (element >= size) return;
    int row = (int)(element / columns), column = (int)(element - (long long)row * columns);
    float sum = 0.0f;
#pragma unroll 8
    for (int share = 0; share < shares; ++share) sum += parts[share * size + element];
    if (BIAS) sum += bias[column];
    Finish finish = {slope, scale, threshold, layer};
    y[(long long)row * y_stride + column] = finished(sum, element, progress, finish);
}

// The same for an input gradient.
extern "C" __global__ void __launch_bounds__(THREADS)
finish_input_gradient(const float* __restrict__ parts, int shares, int rows, int columns, float* dx, int dx_stride,
                      const float* other, int other_stride, const float* __restrict__ x, int x_stride,
                      const Progress* progress, float slope, float scale, unsigned threshold, unsigned layer)
{
    long long size = (long long)rows * columns, element = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (element >= size) return;
    int row = (int)(element / columns), column = (int)(element - (long long)row * columns);
    float sum = 0.0f;
#pragma unroll 8
    for (int share = 0; share < shares; ++share) sum += parts[share * size + element];
    Finish finish = {slope, scale, threshold, layer};
    dx[(long long)row * dx_stride + column] =
        undone(sum, other + (long long)row * other_stride + column, x + (long long)row * x_stride + column, element,
               progress, finish);
}
