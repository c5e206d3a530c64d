// Convolutions whose channels are cut into groups, directly: a group has few channels, of a depthwise convolution one, and
// a matrix product of so few columns would be mostly empty.
//
// The weight is kH x kW x I / GROUPS x O. A thread makes VC neighbouring channels of a pixel: of a depthwise convolution,
// one each of as many groups; forward else, of one group. The weight's gradient comes in parts, of a share of the output's
// lines each, which the optimizer's launch adds.
//
// Constants besides those of convolution.cl: GROUPS; DEPTHWISE (a channel in and one out a group); VC; BIAS.

#define OPEN_GROUPS \
    OPEN_SHAPE; \
    const int group_in = channels / GROUPS, group_out = out_channels / GROUPS

KERNEL grouped_forward(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(const float, weight),
                       MEMORY(const float, bias), MEMORY(float, y), int y_stride, SHAPE_PARAMETERS, int size,
                       FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(const float, weight);
    OPEN(const float, bias);
    OPEN(float, y);
    OPEN_FINISH;
    OPEN_GROUPS;
    START_OF(out_channels);
    int out_column = pixel % out_width, rest = pixel / out_width, out_row = rest % out_height;
    int first = channel / group_out * group_in;
    __global const float *image = x + (size_t)(rest / out_height) * height * width * x_stride + first;
    Floats sums = 0.0f;
    for (int i = 0; i < shape.kernel_height; ++i) {
        int row = out_row * shape.step_height - pad_height + i * shape.apart_height;
        if ((uint)row >= (uint)height) continue;
        for (int j = 0; j < shape.kernel_width; ++j) {
            int column = out_column * shape.step_width - pad_width + j * shape.apart_width;
            if ((uint)column >= (uint)width) continue;
            __global const float *from = image + ((size_t)row * width + column) * x_stride;
            __global const float *factor = weight + (size_t)(i * shape.kernel_width + j) * group_in * out_channels + channel;
#if DEPTHWISE
            sums += READ(from) * READ(factor);
#else
            for (int c = 0; c < group_in; ++c) sums += (Floats)(from[c]) * READ(factor + (size_t)c * out_channels);
#endif
        }
    }
    if (BIAS) sums += READ(bias + channel);
    put(y + (size_t)pixel * y_stride + channel, sums, element, finish);
}

KERNEL grouped_input_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, weight),
                              MEMORY(float, dx), int dx_stride, MEMORY(const float, other), int other_stride,
                              MEMORY(const float, x), int x_stride, SHAPE_PARAMETERS, int size, FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, weight);
    OPEN(float, dx);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN_FINISH;
    OPEN_GROUPS;
    START;
    int in_column = pixel % width, rest = pixel / width, in_row = rest % height;
    int group = channel / group_in, first = group * group_out;
    __global const float *image = dy + (size_t)(rest / height) * out_height * out_width * dy_stride + first;
    __global const float *rows = weight + (size_t)(channel - group * group_in) * out_channels + first;
    Floats sums = 0.0f;
    for (int i = 0; i < shape.kernel_height; ++i) {
        int row = in_row + pad_height - i * shape.apart_height;
        if (row < 0 || row % shape.step_height || row / shape.step_height >= out_height) continue;
        row /= shape.step_height;
        for (int j = 0; j < shape.kernel_width; ++j) {
            int column = in_column + pad_width - j * shape.apart_width;
            if (column < 0 || column % shape.step_width || column / shape.step_width >= out_width) continue;
            column /= shape.step_width;
            __global const float *from = image + ((size_t)row * out_width + column) * dy_stride;
            __global const float *factor = rows + (size_t)(i * shape.kernel_width + j) * group_in * out_channels;
#if DEPTHWISE
            sums += READ(from) * READ(factor);
#else
            for (int o = 0; o < group_out; ++o) sums += from[o] * factor[o];
#endif
        }
    }
    put_gradient(dx + (size_t)pixel * dx_stride + channel, sums, other + (size_t)pixel * other_stride + channel,
                 x + (size_t)pixel * x_stride + channel, element, finish);
}

KERNEL grouped_weight_gradient(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(const float, dy), int dy_stride,
                               MEMORY(float, parts), int part_stride, SHAPE_PARAMETERS, int lines, int per_share,
                               int size)
{
    OPEN(const float, x);
    OPEN(const float, dy);
    OPEN(float, parts);
    OPEN_GROUPS;
    // What START calls a pixel is a row (tap, i) of the weight here.
    START_OF(out_channels);
    int tap = pixel / group_in, share = get_group_id(1), end = min((share + 1) * per_share, lines);
    int first = channel / group_out * group_in + pixel - tap * group_in;
    int down = tap / shape.kernel_width * shape.apart_height - pad_height;
    int right = tap % shape.kernel_width * shape.apart_width - pad_width;
    Floats sums = 0.0f;
    for (int line = share * per_share; line < end; ++line) {
        int row = line % out_height * shape.step_height + down;
        if ((uint)row >= (uint)height) continue;
        __global const float *from = x + ((size_t)(line / out_height) * height + row) * width * x_stride + first;
        // Of its own, then added: one sum of thousands of terms would lose digits.
        Floats own = 0.0f;
        for (int out_column = 0; out_column < out_width; ++out_column) {
            int column = out_column * shape.step_width + right;
            if ((uint)column >= (uint)width) continue;
            Floats gradients = READ(dy + ((size_t)line * out_width + out_column) * dy_stride + channel);
#if DEPTHWISE
            own += READ(from + (size_t)column * x_stride) * gradients;
#else
            own += (Floats)(from[(size_t)column * x_stride]) * gradients;
#endif
        }
        sums += own;
    }
    WRITE(sums, parts + (size_t)share * part_stride + element);
}
