// Batch normalisation: two launches forward and two backward.
//
// The first reads the array once and leaves, for each share of the rows and each channel, two sums; the second begins by
// adding these up (every block those of its own channels: cheaper than a launch of its own), then writes its share of
// the result. Sums are added in a fixed order, so every run gives the same bits.
//
// On GPUs a block takes CT neighbouring channels by THREADS / CT rows at a time: contiguous reads of at least 32 bytes for
// the few channels of a first layer, of 128 for 32 and more. On processors it is one thread, and CT is a vector.
//
// Constant: CT.

#if CPU
// Rows whose sum is made at a time, and then added to that of the others: one sum of a thousand terms would lose digits.
#define PIECE 32
#define START_CHANNELS \
    const int channel = (int)get_group_id(1) * CT, count = channels - channel; \
    const int block = get_group_id(0)

KERNEL norm_statistics(OPTIONS MEMORY(const float, x), int x_stride, int rows, int channels, int per_share,
                       MEMORY(float, partial))
{
    OPEN(const float, x);
    OPEN(float, partial);
    START_CHANNELS;
    int begin = block * per_share, end = min(begin + per_share, rows);
    float16 sum = 0.0f, square = 0.0f, origin = 0.0f;
    int first = min(begin + PIECE, end);
    for (int row = begin; row < first; ++row) origin += vload16(0, x + (size_t)row * x_stride + channel);
    origin /= (float)(first - begin);
    for (int piece = begin; piece < end; piece += PIECE) {
        float16 own_sum = 0.0f, own_square = 0.0f;
        for (int row = piece; row < min(piece + PIECE, end); ++row) {
            float16 difference = vload16(0, x + (size_t)row * x_stride + channel) - origin;
            own_sum += difference;
            own_square += difference * difference;
        }
        sum += own_sum;
        square += own_square;
    }
    float16 mean = sum / (float)(end - begin), rest = square - sum * mean;
    __global float *to = partial + (size_t)block * 2 * channels + channel;
    store_some(to, origin + mean, count);
    store_some(to + channels, select(rest, (float16)(0.0f), rest < (float16)(0.0f)), count);
}

// The sums of all shares, in order: of what begins `offset` floats behind each share's own.
inline float16 over_shares(__global const float *partial, int shares, int channels, int offset)
{
    float16 sum = 0.0f;
    for (int share = 0; share < shares; ++share) sum += vload16(0, partial + (size_t)share * 2 * channels + offset);
    return sum;
}

KERNEL norm_forward(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(const float, other), int other_stride,
                    MEMORY(float, y), int y_stride, int rows, int channels, int per_block,
                    MEMORY(const float, partial), int shares, int per_share, MEMORY(const float, scales),
                    MEMORY(const float, shifts), MEMORY(float, running_means), MEMORY(float, running_variances),
                    MEMORY(float, saved), float eps, float momentum, float remainder, FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(const float, other);
    OPEN(float, y);
    OPEN(const float, partial);
    OPEN(const float, scales);
    OPEN(const float, shifts);
    OPEN(float, running_means);
    OPEN(float, running_variances);
    OPEN(float, saved);
    OPEN_FINISH;
    START_CHANNELS;
    float16 sum = 0.0f, square = 0.0f, origin = vload16(0, partial + channel);
    for (int share = 0; share < shares; ++share) {
        float16 own = vload16(0, partial + (size_t)share * 2 * channels + channel);
        sum += (own - origin) * (float)min(per_share, rows - share * per_share);
    }
    float16 mean = origin + sum / (float)rows;
    for (int share = 0; share < shares; ++share) {
        __global const float *from = partial + (size_t)share * 2 * channels + channel;
        float16 difference = vload16(0, from) - mean;
        square += difference * difference * (float)min(per_share, rows - share * per_share);
        square += vload16(0, from + channels);
    }
    float16 inverse = 1.0f / sqrt(square / (float)rows + eps);
    if (block == 0) {
        store_some(saved + channel, mean, count);
        store_some(saved + channels + channel, inverse, count);
        // Nobody trains on one row (the plan is refused); what is verified at batch 1 may have no more.
        float16 unbiased = square / (float)max(rows - 1, 1);
        float16 means = vload16(0, running_means + channel), variances = vload16(0, running_variances + channel);
        store_some(running_means + channel, momentum * mean + remainder * means, count);
        store_some(running_variances + channel, momentum * unbiased + remainder * variances, count);
    }
    float16 factor = inverse * vload16(0, scales + channel), shift = vload16(0, shifts + channel);
    for (int row = block * per_block; row < min((block + 1) * per_block, rows); ++row) {
        float16 value = (vload16(0, x + (size_t)row * x_stride + channel) - mean) * factor + shift;
        if (finish.add) value += vload16(0, other + (size_t)row * other_stride + channel);
        store_some(y + (size_t)row * y_stride + channel,
                   finished16(value, (ulong)row * channels + channel, finish), count);
    }
}

KERNEL norm_inference(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(const float, other), int other_stride,
                      MEMORY(float, y), int y_stride, int rows, int channels, int per_block,
                      MEMORY(const float, scales), MEMORY(const float, shifts), MEMORY(const float, running_means),
                      MEMORY(const float, running_variances), float eps, FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(const float, other);
    OPEN(float, y);
    OPEN(const float, scales);
    OPEN(const float, shifts);
    OPEN(const float, running_means);
    OPEN(const float, running_variances);
    OPEN_FINISH;
    START_CHANNELS;
    float16 mean = vload16(0, running_means + channel), shift = vload16(0, shifts + channel);
    float16 factor = vload16(0, scales + channel) / sqrt(vload16(0, running_variances + channel) + eps);
    for (int row = block * per_block; row < min((block + 1) * per_block, rows); ++row) {
        float16 value = (vload16(0, x + (size_t)row * x_stride + channel) - mean) * factor + shift;
        if (finish.add) value += vload16(0, other + (size_t)row * other_stride + channel);
        store_some(y + (size_t)row * y_stride + channel,
                   finished16(value, (ulong)row * channels + channel, finish), count);
    }
}

KERNEL norm_gradient_sums(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, x), int x_stride,
                          int rows, int channels, int per_share, MEMORY(const float, saved), MEMORY(float, partial))
{
    OPEN(const float, dy);
    OPEN(const float, x);
    OPEN(const float, saved);
    OPEN(float, partial);
    START_CHANNELS;
    float16 sum = 0.0f, product = 0.0f, mean = vload16(0, saved + channel);
    int end = min((block + 1) * per_share, rows);
    for (int piece = block * per_share; piece < end; piece += PIECE) {
        float16 own_sum = 0.0f, own_product = 0.0f;
        for (int row = piece; row < min(piece + PIECE, end); ++row) {
            float16 gradient = vload16(0, dy + (size_t)row * dy_stride + channel);
            own_sum += gradient;
            own_product += gradient * (vload16(0, x + (size_t)row * x_stride + channel) - mean);
        }
        sum += own_sum;
        product += own_product;
    }
    __global float *to = partial + (size_t)block * 2 * channels + channel;
    store_some(to, sum, count);
    store_some(to + channels, product * vload16(0, saved + channels + channel), count);
}

KERNEL norm_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, x), int x_stride,
                     MEMORY(const float, other), int other_stride, MEMORY(float, dx), int dx_stride, int rows,
                     int channels, int per_block, MEMORY(const float, partial), int shares,
                     MEMORY(const float, scales), MEMORY(const float, saved), MEMORY(float, scale_gradients),
                     MEMORY(float, shift_gradients), FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, x);
    OPEN(const float, other);
    OPEN(float, dx);
    OPEN(const float, partial);
    OPEN(const float, scales);
    OPEN(const float, saved);
    OPEN(float, scale_gradients);
    OPEN(float, shift_gradients);
    OPEN_FINISH;
    START_CHANNELS;
    float16 sum = over_shares(partial, shares, channels, channel);
    float16 product = over_shares(partial, shares, channels, channels + channel);
    if (block == 0) {
        store_some(shift_gradients + channel, sum, count);
        store_some(scale_gradients + channel, product, count);
    }
    float16 mean = vload16(0, saved + channel), inverse = vload16(0, saved + channels + channel);
    float16 factor = inverse * vload16(0, scales + channel);
    sum /= (float)rows;
    product *= inverse / (float)rows;
    for (int row = block * per_block; row < min((block + 1) * per_block, rows); ++row) {
        __global const float *from = x + (size_t)row * x_stride + channel;
        float16 gradient = vload16(0, dy + (size_t)row * dy_stride + channel);
        float16 value = factor * (gradient - sum - (vload16(0, from) - mean) * product);
        store_some(dx + (size_t)row * dx_stride + channel,
                   undone16(value, other + (size_t)row * other_stride + channel, from,
                            (ulong)row * channels + channel, finish),
                   count);
    }
}
#else
#define RT (THREADS / CT)
#define CHANNEL ((int)get_group_id(1) * CT + (int)get_local_id(0) % CT)
#define OWN_ROW ((int)get_local_id(0) / CT)

// Sums over the rows of a block: thread (channel, row) -> thread (channel, 0). All threads get the result.
inline float sum_rows(__local float *shared, float value)
{
    int thread = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    shared[thread] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int gap = RT / 2; gap > 0; gap /= 2) {
        if (thread < gap * CT) shared[thread] += shared[thread + gap * CT];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    return shared[thread % CT];
}

// partial[share][0][channel] = mean, [1] = sum of squared differences from it, of rows share * per_share and so on. The
// differences are taken from the mean of the share's first rows, so that neither a mean that is large against the deviation
// nor a first row that lies far from it costs digits.
KERNEL norm_statistics(OPTIONS MEMORY(const float, x), int x_stride, int rows, int channels, int per_share,
                       MEMORY(float, partial))
{
    OPEN(const float, x);
    OPEN(float, partial);
    __local float shared[THREADS];
    int channel = CHANNEL, begin = get_group_id(0) * per_share, end = min(begin + per_share, rows);
    int own_row = begin + OWN_ROW, is_first = channel < channels && own_row < end;
    float sum = 0.0f, square = 0.0f;
    float origin = sum_rows(shared, is_first ? x[(size_t)own_row * x_stride + channel] : 0.0f);
    origin /= (float)min(RT, end - begin);
    if (channel < channels) {
        for (int row = begin + OWN_ROW; row < end; row += RT) {
            float difference = x[(size_t)row * x_stride + channel] - origin;
            sum += difference;
            square = fma(difference, difference, square);
        }
    }
    sum = sum_rows(shared, sum);
    square = sum_rows(shared, square);
    if (OWN_ROW == 0 && channel < channels) {
        float mean = sum / (float)(end - begin);
        __global float *to = partial + (size_t)get_group_id(0) * 2 * channels + channel;
        to[0] = origin + mean;
        to[channels] = no_less_than_0(square - sum * mean);
    }
}

// y = (x - mean) / sqrt(variance + eps) * scale + shift, plus another value with ADD. `saved` keeps mean and
// 1 / deviation for the way back. Mean and sum of squared differences of all rows are made from those of the shares
// (Chan, Golub and LeVeque 1979).
KERNEL norm_forward(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(const float, other), int other_stride,
                    MEMORY(float, y), int y_stride, int rows, int channels, int per_block,
                    MEMORY(const float, partial), int shares, int per_share, MEMORY(const float, scales),
                    MEMORY(const float, shifts), MEMORY(float, running_means), MEMORY(float, running_variances),
                    MEMORY(float, saved), float eps, float momentum, float remainder, FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(const float, other);
    OPEN(float, y);
    OPEN(const float, partial);
    OPEN(const float, scales);
    OPEN(const float, shifts);
    OPEN(float, running_means);
    OPEN(float, running_variances);
    OPEN(float, saved);
    OPEN_FINISH;
    __local float shared[THREADS];
    int channel = CHANNEL, there = channel < channels;
    float sum = 0.0f, square = 0.0f, origin = there ? partial[channel] : 0.0f;
    if (there)
        for (int share = OWN_ROW; share < shares; share += RT) {
            int count = min(per_share, rows - share * per_share);
            sum += (partial[(size_t)share * 2 * channels + channel] - origin) * (float)count;
        }
    float mean = origin + sum_rows(shared, sum) / (float)rows;
    if (there)
        for (int share = OWN_ROW; share < shares; share += RT) {
            __global const float *from = partial + (size_t)share * 2 * channels + channel;
            float difference = from[0] - mean;
            int count = min(per_share, rows - share * per_share);
            square += fma(difference * difference, (float)count, from[channels]);
        }
    square = sum_rows(shared, square);
    if (!there) return;
    float inverse = 1.0f / sqrt(square / (float)rows + eps);
    if (get_group_id(0) == 0 && OWN_ROW == 0) {
        saved[channel] = mean;
        saved[channels + channel] = inverse;
        // Nobody trains on one row (the plan is refused); what is verified at batch 1 may have no more.
        float unbiased = square / (float)max(rows - 1, 1);
        running_means[channel] = fma(momentum, mean, remainder * running_means[channel]);
        running_variances[channel] = fma(momentum, unbiased, remainder * running_variances[channel]);
    }
    float factor = inverse * scales[channel], shift = shifts[channel];
    int begin = get_group_id(0) * per_block, end = min(begin + per_block, rows);
    for (int row = begin + OWN_ROW; row < end; row += RT) {
        float value = fma(x[(size_t)row * x_stride + channel] - mean, factor, shift);
        if (finish.add) value += other[(size_t)row * other_stride + channel];
        y[(size_t)row * y_stride + channel] = finished(value, (ulong)row * channels + channel, finish);
    }
}

// The same in inference, from the running statistics.
KERNEL norm_inference(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(const float, other), int other_stride,
                      MEMORY(float, y), int y_stride, int rows, int channels, int per_block,
                      MEMORY(const float, scales), MEMORY(const float, shifts), MEMORY(const float, running_means),
                      MEMORY(const float, running_variances), float eps, FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(const float, other);
    OPEN(float, y);
    OPEN(const float, scales);
    OPEN(const float, shifts);
    OPEN(const float, running_means);
    OPEN(const float, running_variances);
    OPEN_FINISH;
    int channel = CHANNEL;
    if (channel >= channels) return;
    float mean = running_means[channel], shift = shifts[channel];
    float factor = scales[channel] / sqrt(running_variances[channel] + eps);
    int begin = get_group_id(0) * per_block, end = min(begin + per_block, rows);
    for (int row = begin + OWN_ROW; row < end; row += RT) {
        float value = fma(x[(size_t)row * x_stride + channel] - mean, factor, shift);
        if (finish.add) value += other[(size_t)row * other_stride + channel];
        y[(size_t)row * y_stride + channel] = finished(value, (ulong)row * channels + channel, finish);
    }
}

// partial[share][0][channel] = sum of dy, [1] = sum of dy times the normalised x.
KERNEL norm_gradient_sums(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, x), int x_stride,
                          int rows, int channels, int per_share, MEMORY(const float, saved), MEMORY(float, partial))
{
    OPEN(const float, dy);
    OPEN(const float, x);
    OPEN(const float, saved);
    OPEN(float, partial);
    __local float shared[THREADS];
    int channel = CHANNEL, begin = get_group_id(0) * per_share, end = min(begin + per_share, rows);
    float sum = 0.0f, product = 0.0f, inverse = 0.0f;
    if (channel < channels) {
        float mean = saved[channel];
        inverse = saved[channels + channel];
        for (int row = begin + OWN_ROW; row < end; row += RT) {
            float gradient = dy[(size_t)row * dy_stride + channel];
            sum += gradient;
            product = fma(gradient, x[(size_t)row * x_stride + channel] - mean, product);
        }
    }
    sum = sum_rows(shared, sum);
    product = sum_rows(shared, product * inverse);
    if (OWN_ROW == 0 && channel < channels) {
        __global float *to = partial + (size_t)get_group_id(0) * 2 * channels + channel;
        to[0] = sum;
        to[channels] = product;
    }
}

// dx = scale / deviation * (dy - mean of dy - normalised x * mean of (dy * normalised x)), then as every gradient of an
// input. The sums are the gradients of shift and scale.
KERNEL norm_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, x), int x_stride,
                     MEMORY(const float, other), int other_stride, MEMORY(float, dx), int dx_stride, int rows,
                     int channels, int per_block, MEMORY(const float, partial), int shares,
                     MEMORY(const float, scales), MEMORY(const float, saved), MEMORY(float, scale_gradients),
                     MEMORY(float, shift_gradients), FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, x);
    OPEN(const float, other);
    OPEN(float, dx);
    OPEN(const float, partial);
    OPEN(const float, scales);
    OPEN(const float, saved);
    OPEN(float, scale_gradients);
    OPEN(float, shift_gradients);
    OPEN_FINISH;
    __local float shared[THREADS];
    int channel = CHANNEL;
    float sum = 0.0f, product = 0.0f;
    if (channel < channels)
        for (int share = OWN_ROW; share < shares; share += RT) {
            __global const float *from = partial + (size_t)share * 2 * channels + channel;
            sum += from[0];
            product += from[channels];
        }
    sum = sum_rows(shared, sum);
    product = sum_rows(shared, product);
    if (channel >= channels) return;
    if (get_group_id(0) == 0 && OWN_ROW == 0) {
        shift_gradients[channel] = sum;
        scale_gradients[channel] = product;
    }
    float mean = saved[channel], inverse = saved[channels + channel], factor = inverse * scales[channel];
    sum /= (float)rows;
    product *= inverse / (float)rows;
    int begin = get_group_id(0) * per_block, end = min(begin + per_block, rows);
    for (int row = begin + OWN_ROW; row < end; row += RT) {
        float input = x[(size_t)row * x_stride + channel];
        float value = factor * (dy[(size_t)row * dy_stride + channel] - sum - (input - mean) * product);
        dx[(size_t)row * dx_stride + channel] =
            undone(value, other + (size_t)row * other_stride + channel, x + (size_t)row * x_stride + channel,
                   (ulong)row * channels + channel, finish);
    }
}
#endif
