// Matrix products whose sum several blocks shared out (see kernels_convolution.cu) end here: a thread adds the parts
// of one element, always in the same order, and finishes it.
//
// Constants: BIAS, ADD.

// The end of a forward product whose k was shared out: adds the parts in order.
extern "C" __global__ void __launch_bounds__(256)
finish_forward(const float* __restrict__ parts, int shares, int rows, int columns, const float* __restrict__ bias,
               float* __restrict__ y, int y_stride, const Progress* progress, float slope, float scale,
               unsigned threshold, unsigned layer)
{
    long long size = (long long)rows * columns, element = (long long)blockIdx.x * 256 + threadIdx.x;
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
extern "C" __global__ void __launch_bounds__(256)
finish_input_gradient(const float* __restrict__ parts, int shares, int rows, int columns, float* dx, int dx_stride,
                      const float* other, int other_stride, const float* __restrict__ x, int x_stride,
                      const Progress* progress, float slope, float scale, unsigned threshold, unsigned layer)
{
    long long size = (long long)rows * columns, element = (long long)blockIdx.x * 256 + threadIdx.x;
    if (element >= size) return;
    int row = (int)(element / columns), column = (int)(element - (long long)row * columns);
    float sum = 0.0f;
#pragma unroll 8
    for (int share = 0; share < shares; ++share) sum += parts[share * size + element];
    if (ADD) sum += other[(long long)row * other_stride + column];
    if (ACTIVATION != IDENTITY || DROPOUT) {
        float output = ACTIVATION != IDENTITY ? x[(long long)row * x_stride + column] : 0.0f;
        Finish finish = {slope, scale, threshold, layer};
        sum *= slope_at(output, element, progress, finish);
    }
    dx[(long long)row * dx_stride + column] = sum;
}
