// Losses: the mean loss and its gradient in one launch of one block, so that the mean is one sum in a fixed order.
// The block is also where a training step turns from forward to backward: it counts the step for the optimizer.
//
// Constant: SLOTS, losses that are kept apart, since the loss of a step may be read after later steps.

__device__ __forceinline__ void end_loss(float* shared, float sum, float mean_factor, float* losses,
                                         Progress* progress, double beta1, double beta2)
{
    int thread = threadIdx.x;
    shared[thread] = sum;
    __syncthreads();
#pragma unroll
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half) shared[thread] += shared[thread + half];
        __syncthreads();
    }
    if (thread == 0) {
        losses[progress->draw % SLOTS] = shared[0] * mean_factor;
        progress->beta1_power *= beta1;
        progress->beta2_power *= beta2;
    }
}

// A thread takes a sample: as many as a step has, and few classes. `smoothing` is the weight that all classes share.
extern "C" __global__ void __launch_bounds__(THREADS)
cross_entropy(const float* __restrict__ logits, int stride, const int* __restrict__ labels, int samples, int classes,
              float* __restrict__ gradient, int gradient_stride, float smoothing, float mean_factor, float* losses,
              Progress* progress, double beta1, double beta2)
{
    __shared__ float shared[THREADS];
    const float every = smoothing / (float)classes, own_weight = 1.0f - smoothing;
    float loss = 0.0f;
    for (int sample = threadIdx.x; sample < samples; sample += THREADS) {
        const float* from = logits + (long long)sample * stride;
        float* to = gradient + (long long)sample * gradient_stride;
        float largest = from[0], sum = 0.0f;
        for (int i = 1; i < classes; ++i) largest = fmaxf(largest, from[i]);
        for (int i = 0; i < classes; ++i) sum += expf(from[i] - largest);
        int label = labels[sample];
        float own = from[label] - largest, others = 0.0f;
        for (int i = 0; i < classes; ++i) {
            others += from[i] - largest;
            to[i] = (expf(from[i] - largest) / sum - (i == label ? own_weight + every : every)) * mean_factor;
        }
        loss += logf(sum) - (every > 0.0f ? own_weight * own + every * others : own);
    }
    end_loss(shared, loss, mean_factor, losses, progress, beta1, beta2);
}

// Mean over all elements, rows x columns; the targets are dense.
extern "C" __global__ void __launch_bounds__(THREADS)
mean_squared_error(const float* __restrict__ outputs, int stride, const float* __restrict__ targets, int rows,
                   int columns, float* __restrict__ gradient, int gradient_stride, float mean_factor, float* losses,
                   Progress* progress, double beta1, double beta2)
{
    __shared__ float shared[THREADS];
    float loss = 0.0f;
    for (int element = threadIdx.x; element < rows * columns; element += THREADS) {
        int row = element / columns, column = element - row * columns;
        float difference = outputs[(long long)row * stride + column] - targets[element];
        gradient[(long long)row * gradient_stride + column] = 2.0f * difference * mean_factor;
        loss = fmaf(difference, difference, loss);
    }
    end_loss(shared, loss, mean_factor, losses, progress, beta1, beta2);
}
