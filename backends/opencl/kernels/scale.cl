// Channels of each image times a number each (squeeze and excitation); see pool.cl for what a thread takes.
//
// Constant: VC.

// The number of a channel of an image of so many pixels.
#define FACTORS READ(factors + (size_t)(pixel / pixels) * factors_stride + channel)

KERNEL scale(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(const float, factors), int factors_stride,
             MEMORY(float, y), int y_stride, int pixels, int channels, int size, FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(const float, factors);
    OPEN(float, y);
    OPEN_FINISH;
    START;
    Floats values = READ(x + (size_t)pixel * x_stride + channel) * FACTORS;
    put(y + (size_t)pixel * y_stride + channel, values, element, finish);
}

KERNEL scale_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, factors), int factors_stride,
                      MEMORY(const float, other), int other_stride, MEMORY(const float, x), int x_stride,
                      MEMORY(float, dx), int dx_stride, int pixels, int channels, int size, FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, factors);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN(float, dx);
    OPEN_FINISH;
    START;
    Floats gradients = READ(dy + (size_t)pixel * dy_stride + channel) * FACTORS;
    put_gradient(dx + (size_t)pixel * dx_stride + channel, gradients, other + (size_t)pixel * other_stride + channel,
                 x + (size_t)pixel * x_stride + channel, element, finish);
}

// Of the numbers: what was scaled is `given`, and `x` are the numbers where their own activation is undone. A thread goes
// through the pixels of an image.
KERNEL factor_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, given), int given_stride,
                       MEMORY(const float, other), int other_stride, MEMORY(const float, x), int x_stride,
                       MEMORY(float, dx), int dx_stride, int pixels, int channels, int size, FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, given);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN(float, dx);
    OPEN_FINISH;
    START;
    Floats sums = 0.0f, lost = 0.0f;
    for (int i = 0; i < pixels; ++i) {
        size_t row = (size_t)pixel * pixels + i;
        add_to(&sums, &lost, READ(dy + row * dy_stride + channel) * READ(given + row * given_stride + channel));
    }
    put_gradient(dx + (size_t)pixel * dx_stride + channel, sums, other + (size_t)pixel * other_stride + channel,
                 x + (size_t)pixel * x_stride + channel, element, finish);
}
