// Matrix products whose sum several blocks shared out (see convolution.cl) end here: a thread adds the parts of one
// element, always in the same order, and finishes it.
//
// Constant: BIAS.

#define ELEMENT \
    uint size = (uint)rows * (uint)columns, element = (uint)get_global_id(0); \
    if (element >= size) return; \
    uint row = element / (uint)columns, column = element - row * (uint)columns; \
    float sum = 0.0f; \
    for (int share = 0; share < shares; ++share) sum += parts[(size_t)share * size + element]

// The end of a forward product whose k was shared out.
KERNEL finish_forward(OPTIONS MEMORY(const float, parts), int shares, int rows, int columns, MEMORY(const float, bias),
                      MEMORY(float, y), int y_stride, FINISH_PARAMETERS)
{
    OPEN(const float, parts);
    OPEN(const float, bias);
    OPEN(float, y);
    OPEN_FINISH;
    ELEMENT;
    if (BIAS) sum += bias[column];
    y[(size_t)row * y_stride + column] = finished(sum, element, finish);
}

// The same for an input gradient.
KERNEL finish_input_gradient(OPTIONS MEMORY(const float, parts), int shares, int rows, int columns, MEMORY(float, dx),
                             int dx_stride, MEMORY(const float, other), int other_stride, MEMORY(const float, x),
                             int x_stride, FINISH_PARAMETERS)
{
    OPEN(const float, parts);
    OPEN(float, dx);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN_FINISH;
    ELEMENT;
    dx[(size_t)row * dx_stride + column] = undone(sum, other + (size_t)row * other_stride + column,
                                                  x + (size_t)row * x_stride + column, element, finish);
}
