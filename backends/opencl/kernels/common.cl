// What every kernel file uses: how memory is passed, activations, dropout's random numbers, how a gradient is finished.
//
// One source serves two kinds of device. On GPUs, CPU is 0 and what a layer is (ACTIVATION, KH, …) are constants, so that
// loops unroll and branches vanish; on processors, CPU is 1 and they are read from `options` when a kernel begins, so
// that a network compiles nothing that another one has compiled. `device.py` writes the lines that decide it.
//
// Constants: THREADS (of a block, as it is launched), ACTIVATION, DROPOUT, ADD (whether another path's values are added).

#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#pragma OPENCL FP_CONTRACT ON

// Activations have names:
#define IDENTITY 0
#define RELU 1
#define LEAKY_RELU 2
#define SIGMOID 3
#define TANH 4
#define RELU6 5
#define HARD_SIGMOID 6

#ifndef ACTIVATION
#define ACTIVATION IDENTITY
#endif
#ifndef DROPOUT
#define DROPOUT 0
#endif
#ifndef ADD
#define ADD 0
#endif

#define KERNEL __kernel __attribute__((reqd_work_group_size(THREADS, 1, 1))) void
// Memory is a buffer and the byte at which it begins: a view of a buffer may begin anywhere, which a sub-buffer may not.
#define MEMORY(type, name) __global type *name, ulong name##_first
#define OPEN(type, name) name = (__global type *)((__global const char *)name + name##_first)

// Where a step is: advanced on the device.
typedef struct {
    double beta1_power;   // beta1^t
    double beta2_power;   // beta2^t
    float learning_rate;
    uint draw;            // number of the training step that dropout draws for
    uint seed;
    float clipping;       // what all gradients of the step are multiplied by, of rules that clip them
} Progress;

// How the values of a layer become its output: what is done; slope of a leaky relu, dropout's threshold and scale, and
// the number of the layer, so that no two dropouts share their masks.
typedef struct {
    int activation, dropout, add;
    float slope, scale;
    uint threshold, layer;
    uint draw, seed;
} Finish;

#define FINISH_PARAMETERS \
    MEMORY(const Progress, progress), float slope, float scale, uint threshold, uint layer
#define OPEN_FINISH \
    OPEN(const Progress, progress); \
    Finish finish = {ACTIVATION,  DROPOUT, ADD, slope, scale, threshold, layer, progress->draw, progress->seed}

// V neighbours at once, 1 or 4.
#define LOAD(V, values, from) \
    do { \
        if (V == 4) vstore4(vload4(0, from), 0, values); \
        else (values)[0] = *(from); \
    } while (0)
#define SAVE(V, to, values) \
    do { \
        if (V == 4) vstore4(vload4(0, values), 0, to); \
        else *(to) = (values)[0]; \
    } while (0)

// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") of four counters that follow one
// another: a word of each in each of the vectors. It has no state, so that the backward pass draws the forward pass' mask
// again instead of storing it.
inline uint16 philox(ulong quad, Finish finish)
{
    ulong4 quads = (ulong4)(quad, quad + 1, quad + 2, quad + 3);
    uint4 x = convert_uint4(quads & 0xFFFFFFFFul), y = convert_uint4(quads >> 32);
    uint4 z = (uint4)(finish.draw), w = (uint4)(finish.layer);
    uint key_low = finish.seed, key_high = 0x64726f70u;
    for (int round = 0; round < 10; ++round) {
        uint4 high0 = mul_hi((uint4)(0xD2511F53u), x), low0 = 0xD2511F53u * x;
        uint4 high1 = mul_hi((uint4)(0xCD9E8D57u), z), low1 = 0xCD9E8D57u * z;
        x = high1 ^ y ^ key_low;
        y = low1;
        z = high0 ^ w ^ key_high;
        w = low0;
        key_low += 0x9E3779B9u;
        key_high += 0xBB67AE85u;
    }
    return (uint16)(x.s0, y.s0, z.s0, w.s0, x.s1, y.s1, z.s1, w.s1, x.s2, y.s2, z.s2, w.s2, x.s3, y.s3, z.s3, w.s3);
}

// Whether dropout keeps element `element` of a layer's output in this step.
inline int kept(ulong element, Finish finish)
{
    uint quad[4];
    vstore4(philox(element >> 2, finish).s0123, 0, quad);
    return quad[element & 3] >= finish.threshold;
}

// The same for 16 elements from one on that is a multiple of 4: all bits where one is kept.
inline int16 kept16(ulong element, Finish finish)
{
    return philox(element >> 2, finish) >= (uint16)(finish.threshold);
}

// No less than 0. NaN stays: fmax would make 0 of it, and hide that a training has diverged.
inline float no_less_than_0(float value) { return 0.0f > value ? 0.0f : value; }

// The same, and no more than `most`.
inline float within(float value, float most)
{
    value = no_less_than_0(value);
    return value > most ? most : value;
}

inline float16 within16(float16 value, float most)
{
    value = select(value, (float16)(0.0f), (float16)(0.0f) > value);
    return select(value, (float16)(most), value > (float16)(most));
}

// Whether a maximum goes over to `value`: only a larger one, so the first of equals stays, and NaN is the largest.
inline int beats(float value, float best) { return value > best || (value != value && best == best); }

// A layer's output from its value: activation, then dropout.
inline float finished(float value, ulong element, Finish finish)
{
    switch (finish.activation) {
    case RELU: value = no_less_than_0(value); break;
    case LEAKY_RELU: value = value > 0.0f ? value : finish.slope * value; break;
    case SIGMOID: value = 1.0f / (1.0f + exp(-value)); break;
    case TANH: value = tanh(value); break;
    case RELU6: value = within(value, 6.0f); break;
    case HARD_SIGMOID: value = within(value + 3.0f, 6.0f) / 6.0f; break;
    }
    if (finish.dropout) value = kept(element, finish) ? value * finish.scale : 0.0f;
    return value;
}

// The same for 16 elements that follow one another.
inline float16 finished16(float16 value, ulong element, Finish finish)
{
    switch (finish.activation) {
    case RELU: value = select(value, (float16)(0.0f), (float16)(0.0f) > value); break;
    case LEAKY_RELU: value = select(finish.slope * value, value, value > (float16)(0.0f)); break;
    case SIGMOID: value = 1.0f / (1.0f + exp(-value)); break;
    case TANH: value = tanh(value); break;
    case RELU6: value = within16(value, 6.0f); break;
    case HARD_SIGMOID: value = within16(value + 3.0f, 6.0f) / 6.0f; break;
    }
    if (!finish.dropout) return value;
    if (element % 4 == 0) return select((float16)(0.0f), value * finish.scale, kept16(element, finish));
    float each[16];
    vstore16(value, 0, each);
    for (int i = 0; i < 16; ++i) each[i] = kept(element + i, finish) ? each[i] * finish.scale : 0.0f;
    return vload16(0, each);
}

// What the gradient of an output is multiplied by to become that of the value before `finished`: every activation's
// slope can be told from its output, so the value itself is not kept. Dropout follows relu or nothing: behind relu, an
// output above zero was kept.
inline float slope_at(float output, ulong element, Finish finish)
{
    switch (finish.activation) {
    case RELU: return output > 0.0f ? finish.scale : 0.0f;
    case LEAKY_RELU: return output > 0.0f ? 1.0f : finish.slope;
    case SIGMOID: return output * (1.0f - output);
    case TANH: return (1.0f - output) * (1.0f + output);
    case RELU6: return output > 0.0f && output < 6.0f ? 1.0f : 0.0f;
    case HARD_SIGMOID: return output > 0.0f && output < 1.0f ? 1.0f / 6.0f : 0.0f;
    }
    if (finish.dropout) return kept(element, finish) ? finish.scale : 0.0f;
    return 1.0f;
}

// What every kernel makes of the gradient of a layer's input before it stores it: what another path brought is added,
// then the input's own activation undone. `other` and `x` point at the element; what is not asked for is not read.
inline float undone(float gradient, __global const float *other, __global const float *x, ulong element, Finish finish)
{
    if (finish.add) gradient += *other;
    return gradient * slope_at(finish.activation != IDENTITY ? *x : 0.0f, element, finish);
}

// The same for N elements that follow one another, 4 or 16.
#define DEFINE_UNDONE(N) \
    inline float##N undone##N(float##N gradient, __global const float *other, __global const float *x, ulong element, \
                              Finish finish) \
    { \
        if (finish.add) gradient += vload##N(0, other); \
        if (finish.activation == IDENTITY && !finish.dropout) return gradient; \
        float##N none = 0.0f, output = finish.activation != IDENTITY ? vload##N(0, x) : none; \
        switch (finish.activation) { \
        case RELU: return select(none, gradient * finish.scale, output > none); \
        case LEAKY_RELU: return select(gradient * finish.slope, gradient, output > none); \
        case SIGMOID: return gradient * (output * (1.0f - output)); \
        case TANH: return gradient * ((1.0f - output) * (1.0f + output)); \
        case RELU6: return select(none, gradient, (output > none) & (output < none + 6.0f)); \
        case HARD_SIGMOID: return select(none, gradient / 6.0f, (output > none) & (output < none + 1.0f)); \
        } \
        float each[N]; \
        vstore##N(gradient, 0, each); \
        for (int i = 0; i < N; i += 4) \
            for (int j = 0; j < 4; ++j) each[i + j] *= kept(element + i + j, finish) ? finish.scale : 0.0f; \
        return vload##N(0, each); \
    }
DEFINE_UNDONE(4)
DEFINE_UNDONE(16)

#if CPU
#define LANES 16

// Stores the first `count` elements of a vector.
inline void store_some(__global float *to, float16 values, int count)
{
    if (count >= LANES) {
        vstore16(values, 0, to);
        return;
    }
    float each[LANES];
    vstore16(values, 0, each);
    for (int i = 0; i < count; ++i) to[i] = each[i];
}
#endif

#ifdef VC
// What a thread takes of pools and of most other layers that are no product: VC neighbouring channels, 1, 4 or 16. A
// comparison is all bits of a vector's element, and 1 of a single number; `select` knows both.
#if VC == 1
typedef float Floats;
typedef int Ints;
typedef uchar Bytes;
#define READ(from) (*(from))
#define WRITE(values, to) (*(to) = (values))
#define INTS(bytes) ((int)(bytes))
#define BYTES(ints) ((uchar)(ints))
#elif VC == 4
typedef float4 Floats;
typedef int4 Ints;
typedef uchar4 Bytes;
#define READ(from) vload4(0, from)
#define WRITE(values, to) vstore4(values, 0, to)
#define INTS(bytes) convert_int4(bytes)
#define BYTES(ints) convert_uchar4(ints)
#else
typedef float16 Floats;
typedef int16 Ints;
typedef uchar16 Bytes;
#define READ(from) vload16(0, from)
#define WRITE(values, to) vstore16(values, 0, to)
#define INTS(bytes) convert_int16(bytes)
#define BYTES(ints) convert_uchar16(ints)
#endif

inline void put(__global float *to, Floats values, ulong element, Finish finish)
{
#if VC == 16
    WRITE(finished16(values, element, finish), to);
#else
    float each[VC];
    WRITE(values, each);
    for (int v = 0; v < VC; ++v) to[v] = finished(each[v], element + v, finish);
#endif
}

inline void put_gradient(__global float *to, Floats values, __global const float *other, __global const float *x,
                         ulong element, Finish finish)
{
#if VC == 16
    WRITE(undone16(values, other, x, element, finish), to);
#else
    float each[VC];
    WRITE(values, each);
    for (int v = 0; v < VC; ++v) to[v] = undone(each[v], other + v, x + v, element + v, finish);
#endif
}

// Of the array that a kernel writes, `size` elements of so many channels, a thread's own.
#define START_OF(channel_count) \
    int element = (int)get_global_id(0) * VC; \
    if (element >= size) return; \
    int channel = element % (channel_count), pixel = element / (channel_count)
#define START START_OF(channels)

// Adds to a sum and keeps what rounding loses of it for the next addition (Kahan 1965), so that long sums lose no digits.
inline void add_to(Floats *sum, Floats *lost, Floats value)
{
#pragma OPENCL FP_CONTRACT OFF
    Floats own = value - *lost, next = *sum + own;
    *lost = (next - *sum) - own;
    *sum = next;
}
#endif
