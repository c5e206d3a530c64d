// Batch normalisation: two launches forward and two backward.
//
// The first reads the array once and leaves, for each share of the rows and each channel, two sums; the second begins
// by adding these up (every block those of its own channels: cheaper than a launch of its own), then writes its share
// of the result. Sums are added in a fixed order, so every run gives the same bits.
//
// A block takes CT neighbouring channels by THREADS / CT rows at a time: contiguous reads of at least 32 bytes for the
// few channels of a first layer, of 128 for 32 and more.
//
// Constant: CT.

#define RT (THREADS / CT)

// Sums over the rows of a block: thread (channel, row) -> thread (channel, 0). All threads get the result.
__device__ __forceinline__ float sum_rows(float* shared, float value)
{
    int thread = threadIdx.x;
    __syncthreads();
    shared[thread] = value;
    __syncthreads();
#pragma unroll
    for (int half = RT / 2; half > 0; half /= 2) {
        if (thread < half * CT) shared[thread] += shared[thread + half * CT];
        __syncthreads();
    }
    return shared[thread % CT];
}

// partial[share][0][channel] = mean, [1] = sum of squared differences from it, of rows share * per_share and so on.
// The differences are taken from the share's first row, so that a mean that is large against the deviation does not
// cost digits.
extern "C" __global__ void __launch_bounds__(THREADS)
norm_statistics(const float* __restrict__ x, int x_stride, int rows, int channels, int per_share,
                float* __restrict__ partial)
{
    __shared__ float shared[THREADS];
    int channel = blockIdx.y * CT + threadIdx.x % CT;
    int begin = blockIdx.x * per_share, end = min(begin + per_share, rows);
    float sum = 0.0f, square = 0.0f, origin = 0.0f;
    if (channel < channels) {
        origin = x[(long long)begin * x_stride + channel];
#pragma unroll 8
        for (int row = begin + (int)threadIdx.x / CT; row < end; row += RT) {
            float difference = x[(long long)row * x_stride + channel] - origin;
            sum += difference;
            square = fmaf(difference, difference, square);
        }
    }
    sum = sum_rows(shared, sum);
    square = sum_rows(shared, square);
    if (threadIdx.x < CT && channel < channels) {
        float mean = sum / (float)(end - begin);
        float* to = partial + (long long)blockIdx.x * 2 * channels + channel;
        to[0] = origin + mean;
        to[channels] = no_less_than_0(square - sum * mean);
    }
}

// Mean and sum of squared differences of all rows from those of the shares (Chan, Golub and LeVeque 1979).
__device__ __forceinline__ void combine(float* shared, const float* partial, int shares, int per_share, int rows,
                                        int channels, int channel, float& mean, float& square)
{
    float sum = 0.0f, origin = channel < channels ? partial[channel] : 0.0f;
    if (channel < channels)
        for (int share = threadIdx.x / CT; share < shares; share += RT) {
            int count = min(per_share, rows - share * per_share);
            sum += (partial[(long long)share * 2 * channels + channel] - origin) * (float)count;
        }
    mean = origin + sum_rows(shared, sum) / (float)rows;
    sum = 0.0f;
    if (channel < channels)
        for (int share = threadIdx.x / CT; share < shares; share += RT) {
            const float* from = partial + (long long)share * 2 * channels + channel;
            float difference = from[0] - mean;
            int count = min(per_share, rows - share * per_share);
            sum += fmaf(difference * difference, (float)count, from[channels]);
        }
    square = sum_rows(shared, sum);
}

// y = (x - mean) / sqrt(variance + eps) * scale + shift, plus another value with ADD. `saved` keeps mean and
// 1 / deviation for the way back.
extern "C" __global__ void __launch_bounds__(THREADS)
norm_forward(const float* __restrict__ x, int x_stride, const float* other, int other_stride, float* y, int y_stride,
             int rows, int channels, int per_block, const float* __restrict__ partial, int shares, int per_share,
             const float* __restrict__ scales, const float* __restrict__ shifts, float* __restrict__ running_means,
             float* __restrict__ running_variances, float* __restrict__ saved, float eps, float momentum, float rest,
             const Progress* progress, float slope, float scale, unsigned threshold, unsigned layer)
{
    __shared__ float shared[THREADS];
    int channel = blockIdx.y * CT + threadIdx.x % CT;
    float mean, square;
    combine(shared, partial, shares, per_share, rows, channels, channel, mean, square);
    if (channel >= channels) return;
    float inverse = 1.0f / sqrtf(square / (float)rows + eps);
    if (blockIdx.x == 0 && threadIdx.x < CT) {
        saved[channel] = mean;
        saved[channels + channel] = inverse;
        // Nobody trains on one row (the plan is refused); what is verified at batch 1 may have no more.
        float unbiased = square / (float)max(rows - 1, 1);
        running_means[channel] = fmaf(momentum, mean, rest * running_means[channel]);
        running_variances[channel] = fmaf(momentum, unbiased, rest * running_variances[channel]);
    }
    Finish finish = {slope, scale, threshold, layer};
    float factor = inverse * scales[channel], shift = shifts[channel];
    int begin = blockIdx.x * per_block, end = min(begin + per_block, rows);
#pragma unroll 4
    for (int row = begin + (int)threadIdx.x / CT; row < end; row += RT) {
        float value = fmaf(x[(long long)row * x_stride + channel] - mean, factor, shift);
        if (ADD) value += other[(long long)row * other_stride + channel];
        y[(long long)row * y_stride + channel] =
            finished(value, (long long)row * channels + channel, progress, finish);
    }
}

// The same in inference, from the running statistics.
extern "C" __global__ void __launch_bounds__(THREADS)
norm_inference(const float* __restrict__ x, int x_stride, const float* other, int other_stride, float* y,
               int y_stride, int rows, int channels, int per_block, const float* __restrict__ scales,
               const float* __restrict__ shifts, const float* __restrict__ running_means,
               const float* __restrict__ running_variances, float eps, const Progress* progress, float slope,
               float scale, unsigned threshold, unsigned layer)
{
    int channel = blockIdx.y * CT + threadIdx.x % CT;
    if (channel >= channels) return;
    Finish finish = {slope, scale, threshold, layer};
    float mean = running_means[channel], shift = shifts[channel];
    float factor = scales[channel] / sqrtf(running_variances[channel] + eps);
    int begin = blockIdx.x * per_block, end = min(begin + per_block, rows);
#pragma unroll 4
    for (int row = begin + (int)threadIdx.x / CT; row < end; row += RT) {
        float value = fmaf(x[(long long)row * x_stride + channel] - mean, factor, shift);
        if (ADD) value += other[(long long)row * other_stride + channel];
        y[(long long)row * y_stride + channel] =
            finished(value, (long long)row * channels + channel, progress, finish);
    }
}

// partial[share][0][channel] = sum of dy, [1] = sum of dy times the normalised x.
extern "C" __global__ void __launch_bounds__(THREADS)
norm_gradient_sums(const float* __restrict__ dy, int dy_stride, const float* __restrict__ x, int x_stride, int rows,
                   int channels, int per_share, const float* __restrict__ saved, float* __restrict__ partial)
{
    __shared__ float shared[THREADS];
    int channel = blockIdx.y * CT + threadIdx.x % CT;
    int begin = blockIdx.x * per_share, end = min(begin + per_share, rows);
    float sum = 0.0f, product = 0.0f, inverse = 0.0f;
    if (channel < channels) {
        float mean = saved[channel];
        inverse = saved[channels + channel];
#pragma unroll 4
        for (int row = begin + (int)threadIdx.x / CT; row < end; row += RT) {
            float gradient = dy[(long long)row * dy_stride + channel];
            sum += gradient;
            product = fmaf(gradient, x[(long long)row * x_stride + channel] - mean, product);
        }
    }
    sum = sum_rows(shared, sum);
    product = sum_rows(shared, product * inverse);
    if (threadIdx.x < CT && channel < channels) {
        float* to = partial + (long long)blockIdx.x * 2 * channels + channel;
        to[0] = sum;
        to[channels] = product;
    }
}

// dx = scale / deviation * (dy - mean of dy - normalised x * mean of (dy * normalised x)), then as every gradient of
// an input. The sums are the gradients of shift and scale.
extern "C" __global__ void __launch_bounds__(THREADS)
norm_gradient(const float* dy, int dy_stride, const float* __restrict__ x, int x_stride, const float* other,
              int other_stride, float* dx, int dx_stride, int rows, int channels, int per_block,
              const float* __restrict__ partial, int shares, const float* __restrict__ scales,
              const float* __restrict__ saved, float* __restrict__ scale_gradients,
              float* __restrict__ shift_gradients, const Progress* progress, float slope, float scale,
              unsigned threshold, unsigned layer)
{
    __shared__ float shared[THREADS];
    int channel = blockIdx.y * CT + threadIdx.x % CT;
    float sum = 0.0f, product = 0.0f;
    if (channel < channels)
        for (int share = threadIdx.x / CT; share < shares; share += RT) {
            const float* from = partial + (long long)share * 2 * channels + channel;
            sum += from[0];
            product += from[channels];
        }
    sum = sum_rows(shared, sum);
    product = sum_rows(shared, product);
    if (channel >= channels) return;
    if (blockIdx.x == 0 && threadIdx.x < CT) {
        shift_gradients[channel] = sum;
        scale_gradients[channel] = product;
    }
    Finish finish = {slope, scale, threshold, layer};
    float mean = saved[channel], inverse = saved[channels + channel], factor = inverse * scales[channel];
    sum /= (float)rows;
    product *= inverse / (float)rows;
    int begin = blockIdx.x * per_block, end = min(begin + per_block, rows);
#pragma unroll 4
    for (int row = begin + (int)threadIdx.x / CT; row < end; row += RT) {
        float input = x[(long long)row * x_stride + channel];
        float value = factor * (dy[(long long)row * dy_stride + channel] - sum - (input - mean) * product);
        dx[(long long)row * dx_stride + channel] =
            undone(value, other + (long long)row * other_stride + channel, &input, (long long)row * channels + channel,
                   progress, finish);
    }
}
