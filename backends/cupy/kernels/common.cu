// What every kernel file uses: activations, dropout's random numbers, and how a gradient is finished.
//
// Constants: THREADS (of a block, as it is launched), ACTIVATION, DROPOUT, ADD (whether another path's values are
// added).
//
// Activations have names, so that one source serves all of them and the compiler removes the others:
#define IDENTITY 0
#define RELU 1
#define LEAKY_RELU 2
#define SIGMOID 3
#define TANH 4

#ifndef ACTIVATION
#define ACTIVATION IDENTITY
#endif
#ifndef DROPOUT
#define DROPOUT 0
#endif
#ifndef ADD
#define ADD 0
#endif

// Where a step is: advanced on the device, so that a captured graph stays right from step to step.
struct Progress {
    double beta1_power;   // beta1^t
    double beta2_power;   // beta2^t
    float learning_rate;
    unsigned draw;        // number of the training step that dropout draws for
    unsigned seed;
    unsigned unused;
};

// How the values of a layer become its output: slope of a leaky relu, dropout's threshold and scale, and the
// number of the layer, so that no two dropouts share their masks.
struct Finish {
    float slope;
    float scale;
    unsigned threshold;
    unsigned layer;
};

// V neighbours at once, 1 or 4; four are aligned to 16 bytes.
template <int V>
__device__ __forceinline__ void load(float* values, const float* from)
{
    if (V == 4) {
        float4 four = *(const float4*)from;
        values[0] = four.x;
        values[1] = four.y;
        values[2] = four.z;
        values[3] = four.w;
    } else {
        values[0] = *from;
    }
}

template <int V>
__device__ __forceinline__ void save(float* to, const float* values)
{
    if (V == 4)
        *(float4*)to = make_float4(values[0], values[V > 1 ? 1 : 0], values[V > 2 ? 2 : 0], values[V > 3 ? 3 : 0]);
    else
        *to = values[0];
}

// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): four words for a counter and a
// key, with no state, so that the backward pass draws the forward pass' mask again instead of storing it.
__device__ __forceinline__ uint4 philox(uint4 counter, unsigned key_low, unsigned key_high)
{
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        unsigned high0 = __umulhi(0xD2511F53u, counter.x), low0 = 0xD2511F53u * counter.x;
        unsigned high1 = __umulhi(0xCD9E8D57u, counter.z), low1 = 0xCD9E8D57u * counter.z;
        counter = make_uint4(high1 ^ counter.y ^ key_low, low1, high0 ^ counter.w ^ key_high, low0);
        key_low += 0x9E3779B9u;
        key_high += 0xBB67AE85u;
    }
    return counter;
}

// Whether dropout keeps element `element` of a layer's output in this step.
__device__ __forceinline__ bool kept(long long element, const Progress* progress, Finish finish)
{
    unsigned long long quad = (unsigned long long)element >> 2;
    uint4 words = philox(make_uint4((unsigned)quad, (unsigned)(quad >> 32), progress->draw, finish.layer),
                         progress->seed, 0x64726f70u);
    unsigned lane = (unsigned)element & 3u;
    unsigned word = lane == 0 ? words.x : lane == 1 ? words.y : lane == 2 ? words.z : words.w;
    return word >= finish.threshold;
}

// No less than 0. NaN stays: fmaxf would make 0 of it, and hide that a training has diverged.
__device__ __forceinline__ float no_less_than_0(float value) { return 0.0f > value ? 0.0f : value; }

// Whether a maximum goes over to `value`: only a larger one, so the first of equals stays, and NaN is the largest.
__device__ __forceinline__ bool beats(float value, float best)
{
    return value > best || (value != value && best == best);
}

// A layer's output from its value: activation, then dropout.
__device__ __forceinline__ float finished(float value, long long element, const Progress* progress, Finish finish)
{
    if (ACTIVATION == RELU) value = no_less_than_0(value);
    if (ACTIVATION == LEAKY_RELU) value = value > 0.0f ? value : finish.slope * value;
    if (ACTIVATION == SIGMOID) value = 1.0f / (1.0f + expf(-value));
    if (ACTIVATION == TANH) value = tanhf(value);
    if (DROPOUT) value = kept(element, progress, finish) ? value * finish.scale : 0.0f;
    return value;
}

// What the gradient of an output is multiplied by to become that of the value before `finished`: every
// activation's slope can be told from its output, so the value itself is not kept. Dropout follows relu or nothing:
// behind relu, an output above zero was kept.
__device__ __forceinline__ float slope_at(float output, long long element, const Progress* progress, Finish finish)
{
    if (ACTIVATION == RELU) return output > 0.0f ? finish.scale : 0.0f;
    if (ACTIVATION == LEAKY_RELU) return output > 0.0f ? 1.0f : finish.slope;
    if (ACTIVATION == SIGMOID) return output * (1.0f - output);
    if (ACTIVATION == TANH) return (1.0f - output) * (1.0f + output);
    if (DROPOUT) return kept(element, progress, finish) ? finish.scale : 0.0f;
    return 1.0f;
}

// What every kernel makes of the gradient of a layer's input before it stores it: what another path brought is added,
// then the input's own activation undone. `other` and `x` point at the element; what is not asked for is not read.
__device__ __forceinline__ float undone(float gradient, const float* other, const float* x, long long element,
                                        const Progress* progress, Finish finish)
{
    if (ADD) gradient += *other;
    return gradient * slope_at(ACTIVATION != IDENTITY ? *x : 0.0f, element, progress, finish);
}
