// Losses: the mean loss and its gradient in one launch of one block, so that the mean is one sum in a fixed order.
// The block is also where a training step turns from forward to backward: it counts the step for the optimizer.
//
// Constant: SLOTS, losses that are kept apart, since the loss of a step may be read after later steps.

// `count` is SLOTS, which is no constant on every device.
inline void end_loss(__local float *shared, float sum, float mean_factor, __global float *losses,
                     __global Progress *progress, double beta1, double beta2, uint count)
{
    int thread = get_local_id(0);
    shared[thread] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int gap = THREADS / 2; gap > 0; gap /= 2) {
        if (thread < gap) shared[thread] += shared[thread + gap];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (thread == 0) {
        losses[progress->draw % count] = shared[0] * mean_factor;
        progress->beta1_power *= beta1;
        progress->beta2_power *= beta2;
    }
}

// A thread takes a sample: as many as a step has, and few classes. Labels are of 32 bits. `smoothing` is the weight that
// all classes share.
KERNEL cross_entropy(OPTIONS MEMORY(const float, logits), int stride, MEMORY(const int, labels), int samples,
                     int classes, MEMORY(float, gradient), int gradient_stride, float smoothing, float mean_factor,
                     MEMORY(float, losses), MEMORY(Progress, progress), double beta1, double beta2)
{
    OPEN(const float, logits);
    OPEN(const int, labels);
    OPEN(float, gradient);
    OPEN(float, losses);
    OPEN(Progress, progress);
    __local float shared[THREADS];
    const float every = smoothing / (float)classes, own_weight = 1.0f - smoothing;
    float loss = 0.0f;
    for (int sample = get_local_id(0); sample < samples; sample += THREADS) {
        __global const float *from = logits + (size_t)sample * stride;
        __global float *to = gradient + (size_t)sample * gradient_stride;
        float largest = from[0], sum = 0.0f;
        for (int i = 1; i < classes; ++i) largest = fmax(largest, from[i]);
        for (int i = 0; i < classes; ++i) sum += exp(from[i] - largest);
        int label = labels[sample];
        float own = from[label] - largest, others = 0.0f;
        for (int i = 0; i < classes; ++i) {
            others += from[i] - largest;
            to[i] = (exp(from[i] - largest) / sum - (i == label ? own_weight + every : every)) * mean_factor;
        }
        loss += log(sum) - (every > 0.0f ? own_weight * own + every * others : own);
    }
    end_loss(shared, loss, mean_factor, losses, progress, beta1, beta2, SLOTS);
}

// Mean over all elements, rows x columns; the targets are dense.
KERNEL mean_squared_error(OPTIONS MEMORY(const float, outputs), int stride, MEMORY(const float, targets), int rows,
                          int columns, MEMORY(float, gradient), int gradient_stride, float mean_factor,
                          MEMORY(float, losses), MEMORY(Progress, progress), double beta1, double beta2)
{
    OPEN(const float, outputs);
    OPEN(const float, targets);
    OPEN(float, gradient);
    OPEN(float, losses);
    OPEN(Progress, progress);
    __local float shared[THREADS];
    float loss = 0.0f;
    for (int element = get_local_id(0); element < rows * columns; element += THREADS) {
        int row = element / columns, column = element - row * columns;
        float difference = outputs[(size_t)row * stride + column] - targets[element];
        gradient[(size_t)row * gradient_stride + column] = 2.0f * difference * mean_factor;
        loss = fma(difference, difference, loss);
    }
    end_loss(shared, loss, mean_factor, losses, progress, beta1, beta2, SLOTS);
}
