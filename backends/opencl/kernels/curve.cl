// Activations whose slope cannot be told from their output: a launch of their own, whose input is kept for the way back.
//
// Constants: CURVE, VC.

#define SILU 0
#define HARD_SWISH 1
#define GELU 2
#define GELU_TANH 3

#define ROOT_OF_HALF 0.70710678f
#define DENSITY_AT_0 0.39894228f  // 1 / sqrt(2 pi)
#define TANH_FACTOR 0.79788456f   // sqrt(2 / pi)
#define TANH_CUBIC 0.044715f

inline Floats logistic(Floats x) { return 1.0f / (1.0f + exp(-x)); }

// What the input is multiplied by; tanh(u) = 2 logistic(2 u) - 1.
inline Floats gate_of(Floats x, int kind)
{
    switch (kind) {
    case SILU: return logistic(x);
    case HARD_SWISH: return clamp(x + 3.0f, (Floats)(0.0f), (Floats)(6.0f)) / 6.0f;
    case GELU: return 0.5f * erfc(-ROOT_OF_HALF * x);
    default: return logistic(2.0f * TANH_FACTOR * (x + TANH_CUBIC * x * x * x));
    }
}

inline Floats slope_of_curve(Floats x, int kind)
{
    Floats gate = gate_of(x, kind);
    switch (kind) {
    case SILU: return gate * (1.0f + x * (1.0f - gate));
    case HARD_SWISH:
        // Those of the straight pieces where they meet the bent one.
        return select(select(x / 3.0f + 0.5f, (Floats)(1.0f), x >= (Floats)(3.0f)), (Floats)(0.0f),
                      x <= (Floats)(-3.0f));
    case GELU: return gate + x * DENSITY_AT_0 * exp(-0.5f * x * x);
    default:
        return gate + x * gate * (1.0f - gate) * 2.0f * TANH_FACTOR * (1.0f + 3.0f * TANH_CUBIC * x * x);
    }
}

KERNEL curve(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(float, y), int y_stride, int channels, int size,
             FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(float, y);
    OPEN_FINISH;
    START;
    Floats values = READ(x + (size_t)pixel * x_stride + channel);
    put(y + (size_t)pixel * y_stride + channel, values * gate_of(values, CURVE), element, finish);
}

// `given` is the curve's input; `x` is the same where its own activation is undone.
KERNEL curve_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, given), int given_stride,
                      MEMORY(const float, other), int other_stride, MEMORY(const float, x), int x_stride,
                      MEMORY(float, dx), int dx_stride, int channels, int size, FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, given);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN(float, dx);
    OPEN_FINISH;
    START;
    Floats slopes = slope_of_curve(READ(given + (size_t)pixel * given_stride + channel), CURVE);
    Floats gradients = READ(dy + (size_t)pixel * dy_stride + channel) * slopes;
    put_gradient(dx + (size_t)pixel * dx_stride + channel, gradients, other + (size_t)pixel * other_stride + channel,
                 x + (size_t)pixel * x_stride + channel, element, finish);
}
