// One launch updates all parameters: they lie in one array, each beginning on a block of its own, so that a block
// belongs to one parameter. The parts of its gradient (see convolution.cl) are added up here, in order.
//
// Where gradients are clipped by the norm of all of them, two launches come before: the squares of each block, and their
// sum. They add up the same parts.
//
// Constants: RULE, NESTEROV, MOMENTUM (whether there is any), CLIP.

#define SGD 0
#define ADAM 1
#define ADAMW 2
#define ADAGRAD 3
#define RMSPROP 4
#define ADADELTA 5

// Where the gradient of a block's parameter is: `first` float of it in the array of parts, and how many parts there are,
// `apart` floats from each other. Of the block's elements the first `decayed` decay.
typedef struct {
    int first, shares, apart, decayed;
} Place;

// A thread's four neighbours of the gradient.
inline float4 gradient_of(__global const float *parts, Place place)
{
    __global const float *part = parts + place.first + get_local_id(0) * 4;
    float4 gradient = vload4(0, part);
    for (int share = 1; share < place.shares; ++share) gradient += vload4(0, part + (size_t)share * place.apart);
    return gradient;
}

// The sum of what all threads bring, in the first one.
inline float over_threads(__local float *shared, float value)
{
    int thread = get_local_id(0);
    shared[thread] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int gap = THREADS / 2; gap > 0; gap /= 2) {
        if (thread < gap) shared[thread] += shared[thread + gap];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    return shared[0];
}

// Of each block, as `update` has them. What lies behind the end of a parameter is 0.
KERNEL gradient_squares(OPTIONS MEMORY(const float, parts), MEMORY(const Place, places), MEMORY(float, squares))
{
    OPEN(const float, parts);
    OPEN(const Place, places);
    OPEN(float, squares);
    __local float shared[THREADS];
    int block = get_group_id(0);
    float4 gradient = gradient_of(parts, places[block]);
    float sum = over_threads(shared, dot(gradient, gradient));
    if (get_local_id(0) == 0) squares[block] = sum;
}

// One block: min(1, most / (norm + eps)).
KERNEL clipping(OPTIONS MEMORY(const float, squares), int count, MEMORY(Progress, progress), float most, float eps)
{
    OPEN(const float, squares);
    OPEN(Progress, progress);
    __local float shared[THREADS];
    float sum = 0.0f;
    for (int i = get_local_id(0); i < count; i += THREADS) sum += squares[i];
    float norm = sqrt(over_threads(shared, sum));
    if (get_local_id(0) == 0) progress->clipping = norm + eps > most ? most / (norm + eps) : 1.0f;
}

// The product is rounded by itself: where gradient and decay cancel, a fused sum leaves the product's rounding, and rules
// that divide by a gradient's own size make a whole step of it.
inline float4 with_decay(float4 gradient, float4 decay, float4 value)
{
#pragma OPENCL FP_CONTRACT OFF
    float4 product = decay * value;
    return gradient + product;
}

// A thread takes four neighbours.
KERNEL update(OPTIONS MEMORY(float, values), MEMORY(const float, parts), MEMORY(const Place, places),
              MEMORY(float, first_moments), MEMORY(float, second_moments), MEMORY(Progress, progress), float momentum,
              float weight_decay, float beta1, float rest1, float beta2, float rest2, float eps)
{
    OPEN(float, values);
    OPEN(const float, parts);
    OPEN(const Place, places);
    OPEN(float, first_moments);
    OPEN(float, second_moments);
    OPEN(Progress, progress);
    int rule = RULE, has_momentum = MOMENTUM, nesterov = NESTEROV;
    int adam = rule == ADAM || rule == ADAMW;
    int has_first = rule != SGD || has_momentum;
    int has_second = adam || rule == ADADELTA || (rule == RMSPROP && has_momentum);
    int thread = get_local_id(0), block = get_group_id(0);
    Place place = places[block];
    float rate = progress->learning_rate, correction1 = 1.0f, correction2 = 1.0f;
    size_t i = ((size_t)block * THREADS + thread) * 4;
    float4 value = vload4(0, values + i), gradient = gradient_of(parts, place), first = 0.0f, second = 0.0f, step;
    if (CLIP) gradient *= progress->clipping;
    if (has_first) first = vload4(0, first_moments + i);
    if (has_second) second = vload4(0, second_moments + i);
    if (adam) {
        // In double: 1 - beta2^t is a thousandth at first, and float would leave four digits of it.
        correction1 = (float)(1.0 / (1.0 - progress->beta1_power));
        correction2 = (float)(1.0 / (1.0 - progress->beta2_power));
    }
    int4 number = (int4)(0, 1, 2, 3) + thread * 4;
    float4 decay = select((float4)(0.0f), (float4)(weight_decay), number < (int4)(place.decayed));
    if (rule != ADAMW) gradient = with_decay(gradient, decay, value);
    switch (rule) {
    case SGD:
        step = gradient;
        if (has_momentum) step = first = fma((float4)(momentum), first, gradient);
        if (nesterov) step = fma((float4)(momentum), step, gradient);
        break;
    case ADAGRAD:
        first = fma(gradient, gradient, first);
        step = gradient / (sqrt(first) + eps);
        break;
    case RMSPROP:  // its rho is beta1, and Adadelta's
        first = fma((float4)(beta1), first, rest1 * gradient * gradient);
        step = gradient / (sqrt(first) + eps);
        if (has_momentum) step = second = fma((float4)(momentum), second, step);
        break;
    case ADADELTA:
        first = fma((float4)(beta1), first, rest1 * gradient * gradient);
        step = sqrt(second + eps) / sqrt(first + eps) * gradient;
        second = fma((float4)(beta1), second, rest1 * step * step);
        break;
    default:
        first = fma((float4)(beta1), first, rest1 * gradient);
        second = fma((float4)(beta2), second, rest2 * gradient * gradient);
        step = first * correction1 / (sqrt(second * correction2) + eps);
        if (rule == ADAMW) step = fma(decay, value, step);
    }
    vstore4(value - rate * step, 0, values + i);
    if (has_first) vstore4(first, 0, first_moments + i);
    if (has_second) vstore4(second, 0, second_moments + i);
    // Nobody reads this number in the same launch.
    if (block == 0 && thread == 0) progress->draw += 1;
}
