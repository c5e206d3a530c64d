// One launch updates all parameters: they lie in one array, each beginning on a block of its own, so that a block
// belongs to one parameter. The parts of its gradient (see convolution.cu) are added up here, in order.
//
// Constants: RULE, NESTEROV, MOMENTUM (whether there is any).

#define SGD 0
#define ADAM 1
#define ADAMW 2
#define ADAGRAD 3
#define RMSPROP 4
#define ADADELTA 5

#define FIRST (RULE != SGD || MOMENTUM)
#define SECOND (RULE == ADAM || RULE == ADAMW || RULE == ADADELTA || (RULE == RMSPROP && MOMENTUM))

// Where the gradient of a block's parameter is: `first` float of it in the array of parts, and how many parts there
// are, `apart` floats from each other. Of the block's elements the first `decayed` decay.
struct Place {
    int first, shares, apart, decayed;
};

__device__ __forceinline__ float4 plus(float4 a, float4 b)
{
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

// The rule for one element; the moments are changed in place. rho of RMSprop and Adadelta is beta1.
__device__ __forceinline__ float updated(float value, float gradient, float& first, float& second, float rate,
                                         float correction1, float correction2, float momentum, float weight_decay,
                                         float beta1, float rest1, float beta2, float rest2, float eps)
{
    if (RULE != ADAMW) gradient = fmaf(weight_decay, value, gradient);
    if (RULE == SGD) {
        if (MOMENTUM) first = fmaf(momentum, first, gradient);
        float velocity = MOMENTUM ? first : gradient;
        return value - rate * (NESTEROV ? fmaf(momentum, velocity, gradient) : velocity);
    }
    if (RULE == ADAGRAD) {
        first = fmaf(gradient, gradient, first);
        return value - rate * gradient / (sqrtf(first) + eps);
    }
    if (RULE == RMSPROP) {
        first = fmaf(beta1, first, rest1 * gradient * gradient);
        float step = gradient / (sqrtf(first) + eps);
        if (MOMENTUM) second = fmaf(momentum, second, step);
        return value - rate * (MOMENTUM ? second : step);
    }
    if (RULE == ADADELTA) {
        first = fmaf(beta1, first, rest1 * gradient * gradient);
        float step = sqrtf(second + eps) / sqrtf(first + eps) * gradient;
        second = fmaf(beta1, second, rest1 * step * step);
        return value - rate * step;
    }
    first = fmaf(beta1, first, rest1 * gradient);
    second = fmaf(beta2, second, rest2 * gradient * gradient);
    float step = first * correction1 / (sqrtf(second * correction2) + eps);
    return value - rate * (RULE == ADAMW ? fmaf(weight_decay, value, step) : step);
}

// A thread takes four neighbours: one wide load of each array keeps more of them on the way than four narrow ones.
extern "C" __global__ void __launch_bounds__(THREADS)
update(float* __restrict__ values, const float* __restrict__ parts, const Place* __restrict__ places,
       float* __restrict__ first_moments, float* __restrict__ second_moments, Progress* progress, float momentum,
       float weight_decay, float beta1, float rest1, float beta2, float rest2, float eps)
{
    Place place = places[blockIdx.x];
    float rate = progress->learning_rate, correction1 = 1.0f, correction2 = 1.0f;
    int i = (blockIdx.x * THREADS + threadIdx.x) * 4;
    const float* part = parts + place.first + threadIdx.x * 4;
    float4 value = *(float4*)(values + i), gradient = *(const float4*)part;
    float4 first = make_float4(0.0f, 0.0f, 0.0f, 0.0f), second = first;
#pragma unroll 8
    for (int share = 1; share < place.shares; ++share)
        gradient = plus(gradient, *(const float4*)(part + (long long)share * place.apart));
    if (FIRST) first = *(float4*)(first_moments + i);
    if (SECOND) second = *(float4*)(second_moments + i);
    if (RULE == ADAM || RULE == ADAMW) {
        // In double: 1 - beta2^t is a thousandth at first, and float would leave four digits of it.
        correction1 = (float)(1.0 / (1.0 - progress->beta1_power));
        correction2 = (float)(1.0 / (1.0 - progress->beta2_power));
    }
    int decayed = place.decayed - (int)threadIdx.x * 4;
#define UPDATE(e, number) \
    value.e = updated(value.e, gradient.e, first.e, second.e, rate, correction1, correction2, momentum, \
                      decayed > number ? weight_decay : 0.0f, beta1, rest1, beta2, rest2, eps)
    UPDATE(x, 0);
    UPDATE(y, 1);
    UPDATE(z, 2);
    UPDATE(w, 3);
    *(float4*)(values + i) = value;
    if (FIRST) *(float4*)(first_moments + i) = first;
    if (SECOND) *(float4*)(second_moments + i) = second;
    // Nobody reads this number in the same launch.
    if (blockIdx.x == 0 && threadIdx.x == 0) progress->draw += 1;
}
