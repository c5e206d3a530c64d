// Local response normalisation: y = x / base^beta with base = k + alpha / size * (sum of x^2 over the channels around it).
//
// base^-beta and base^(-beta - 1) are kept for the way back, in which they are asked for by all channels around.

#define ELEMENT \
    uint element = (uint)get_global_id(0); \
    if (element >= (uint)rows * (uint)channels) return; \
    size_t row = element / (uint)channels; \
    int channel = element - row * channels; \
    int first = max(channel - reach, 0), last = min(channel + reach, channels - 1)

// `reach` channels on both sides are around one; `factor` is alpha / size.
KERNEL response_norm(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(float, y), int y_stride, MEMORY(float, powers),
                     MEMORY(float, slopes), int rows, int channels, int reach, float factor, float beta, float k,
                     FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(float, y);
    OPEN(float, powers);
    OPEN(float, slopes);
    OPEN_FINISH;
    ELEMENT;
    __global const float *from = x + row * x_stride;
    float sum = 0.0f;
    for (int i = first; i <= last; ++i) sum = fma(from[i], from[i], sum);
    float base = fma(factor, sum, k), power = pow(base, -beta);
    powers[element] = power;
    slopes[element] = power / base;
    y[row * y_stride + channel] = finished(from[channel] * power, element, finish);
}

// dx = dy base^-beta - 2 factor beta x * (sum of dy x base^(-beta - 1) over the channels around).
KERNEL response_norm_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, given),
                              int given_stride, MEMORY(const float, powers), MEMORY(const float, slopes),
                              MEMORY(const float, other), int other_stride, MEMORY(const float, x), int x_stride,
                              MEMORY(float, dx), int dx_stride, int rows, int channels, int reach, float factor,
                              float beta, FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, given);
    OPEN(const float, powers);
    OPEN(const float, slopes);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN(float, dx);
    OPEN_FINISH;
    ELEMENT;
    __global const float *gradients = dy + row * dy_stride, *from = given + row * given_stride;
    float sum = 0.0f;
    for (int i = first; i <= last; ++i) sum += gradients[i] * from[i] * slopes[row * channels + i];
    float gradient = gradients[channel] * powers[element] - 2.0f * factor * beta * from[channel] * sum;
    dx[row * dx_stride + channel] = undone(gradient, other + row * other_stride + channel,
                                           x + row * x_stride + channel, element, finish);
}
