// Normalisation of sets of values within a sample: the channels of a group and their pixels (group norm), or the channels
// of a pixel (layer norm, which is that of one group of images of one pixel).
//
// A block takes a set, on processors with one thread: mean, then variance, then the result. Sums are in a fixed order.
//
// Constants: VC, which divides the channels of a group.

// Of a sample's `groups` groups of `width` channels, a block's own.
#define OPEN_SET \
    const int set = get_group_id(0), image = set / groups, first = (set - image * groups) * width; \
    const int size = pixels * width
#define EACH for (int at = (int)get_local_id(0) * VC; at < size; at += THREADS * VC)
#define PLACE \
    size_t pixel = (size_t)image * pixels + at / width; \
    int channel = first + at % width

// The sum of what all threads of a block bring, for each of them.
inline float over_block(__local float *shared, Floats values)
{
    float each[VC], sum = 0.0f;
    WRITE(values, each);
    for (int v = 0; v < VC; ++v) sum += each[v];
    int thread = get_local_id(0);
    shared[thread] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int gap = THREADS / 2; gap > 0; gap /= 2) {
        if (thread < gap) shared[thread] += shared[thread + gap];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    sum = shared[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return sum;
}

// `saved` keeps the mean of each set, and behind them 1 / deviation, for the way back.
KERNEL sample_norm(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(float, y), int y_stride, int pixels, int groups,
                   int width, MEMORY(const float, scales), MEMORY(const float, shifts), MEMORY(float, saved), float eps,
                   FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(float, y);
    OPEN(const float, scales);
    OPEN(const float, shifts);
    OPEN(float, saved);
    OPEN_FINISH;
    OPEN_SET;
    __local float shared[THREADS];
    Floats sums = 0.0f, lost = 0.0f;
    EACH {
        PLACE;
        add_to(&sums, &lost, READ(x + pixel * x_stride + channel));
    }
    float mean = over_block(shared, sums) / (float)size;
    Floats squares = 0.0f;
    lost = 0.0f;
    EACH {
        PLACE;
        Floats difference = READ(x + pixel * x_stride + channel) - mean;
        add_to(&squares, &lost, difference * difference);
    }
    float inverse = 1.0f / sqrt(over_block(shared, squares) / (float)size + eps);
    EACH {
        PLACE;
        Floats values = (READ(x + pixel * x_stride + channel) - mean) * inverse;
        values = values * READ(scales + channel) + READ(shifts + channel);
        put(y + pixel * y_stride + channel, values, pixel * (groups * width) + channel, finish);
    }
    if (get_local_id(0) == 0) {
        saved[set] = mean;
        saved[get_num_groups(0) + set] = inverse;
    }
}

// dx = (g - mean of g - normalised x * mean of (g * normalised x)) / deviation, where g = dy * scale.
KERNEL sample_norm_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, given),
                            int given_stride, MEMORY(const float, other), int other_stride, MEMORY(const float, x),
                            int x_stride, MEMORY(float, dx), int dx_stride, int pixels, int groups, int width,
                            MEMORY(const float, scales), MEMORY(const float, saved), FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, given);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN(float, dx);
    OPEN(const float, scales);
    OPEN(const float, saved);
    OPEN_FINISH;
    OPEN_SET;
    __local float shared[THREADS];
    float mean = saved[set], inverse = saved[get_num_groups(0) + set];
    Floats sums = 0.0f, products = 0.0f, lost = 0.0f, lost_product = 0.0f;
    EACH {
        PLACE;
        Floats gradients = READ(dy + pixel * dy_stride + channel) * READ(scales + channel);
        Floats normal = (READ(given + pixel * given_stride + channel) - mean) * inverse;
        add_to(&sums, &lost, gradients);
        add_to(&products, &lost_product, gradients * normal);
    }
    float sum = over_block(shared, sums) / (float)size, product = over_block(shared, products) / (float)size;
    EACH {
        PLACE;
        Floats gradients = READ(dy + pixel * dy_stride + channel) * READ(scales + channel);
        Floats normal = (READ(given + pixel * given_stride + channel) - mean) * inverse;
        put_gradient(dx + pixel * dx_stride + channel, inverse * (gradients - sum - normal * product),
                     other + pixel * other_stride + channel, x + pixel * x_stride + channel,
                     pixel * (groups * width) + channel, finish);
    }
}

// Parts of the gradients of scale and, behind it, shift: a thread takes VC channels of a share of the rows.
KERNEL sample_norm_parameters(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, x), int x_stride,
                              int rows, int per_share, int pixels, int groups, int width, MEMORY(const float, saved),
                              MEMORY(float, parts), int part_stride)
{
    OPEN(const float, dy);
    OPEN(const float, x);
    OPEN(const float, saved);
    OPEN(float, parts);
    const int channels = groups * width, channel = (int)get_global_id(0) * VC, share = get_group_id(1);
    if (channel >= channels) return;
    const int sets = rows / pixels * groups, end = min((share + 1) * per_share, rows);
    Floats shift = 0.0f, scale = 0.0f, lost = 0.0f, lost_scale = 0.0f;
    for (int row = share * per_share; row < end; ++row) {
        int set = row / pixels * groups + channel / width;
        Floats gradients = READ(dy + (size_t)row * dy_stride + channel);
        Floats normal = (READ(x + (size_t)row * x_stride + channel) - saved[set]) * saved[sets + set];
        add_to(&shift, &lost, gradients);
        add_to(&scale, &lost_scale, gradients * normal);
    }
    parts += (size_t)share * part_stride + channel;
    WRITE(scale, parts);
    WRITE(shift, parts + channels);
}
