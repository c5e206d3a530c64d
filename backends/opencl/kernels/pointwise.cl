// What is done element by element: activations and sums that no other kernel could finish, and moves.
//
// A thread takes one element of rows x columns, fewer than 2^31; rows may lie further apart than their columns are many.
//
// Constants for `subsample`: SH SW.

#define ELEMENT \
    uint element = (uint)get_global_id(0); \
    if (element >= (uint)rows * (uint)columns) return; \
    uint row = element / (uint)columns, column = element - row * (uint)columns

// y = finished(x), or of the sum with another value.
KERNEL apply(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(const float, other), int other_stride,
             MEMORY(float, y), int y_stride, int rows, int columns, FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(const float, other);
    OPEN(float, y);
    OPEN_FINISH;
    ELEMENT;
    float value = x[(size_t)row * x_stride + column];
    if (finish.add) value += other[(size_t)row * other_stride + column];
    y[(size_t)row * y_stride + column] = finished(value, element, finish);
}

// dx from dy (and what another path brought): undoes the activation of x, which is what x was before it.
KERNEL apply_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, other), int other_stride,
                      MEMORY(const float, x), int x_stride, MEMORY(float, dx), int dx_stride, int rows, int columns,
                      FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN(float, dx);
    OPEN_FINISH;
    ELEMENT;
    dx[(size_t)row * dx_stride + column] =
        undone(dy[(size_t)row * dy_stride + column], other + (size_t)row * other_stride + column,
               x + (size_t)row * x_stride + column, element, finish);
}

// Every SH-th row and SW-th column of an image, and zeros for channels it has not got.
KERNEL subsample(OPTIONS MEMORY(const float, x), int x_stride, int height, int width, int channels, MEMORY(float, y),
                 int y_stride, int out_height, int out_width, int rows, int columns, FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(float, y);
    OPEN_FINISH;
    ELEMENT;
    float value = 0.0f;
    if (column < (uint)channels) {
        int out_column = row % out_width, rest = row / out_width;
        int out_row = rest % out_height, image = rest / out_height;
        value = x[((size_t)(image * height + out_row * SH) * width + out_column * SW) * x_stride + column];
    }
    y[(size_t)row * y_stride + column] = finished(value, element, finish);
}

// rows, columns: those of dx.
KERNEL subsample_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, int out_height, int out_width,
                          MEMORY(const float, other), int other_stride, MEMORY(const float, x), int x_stride,
                          int height, int width, MEMORY(float, dx), int dx_stride, int rows, int columns,
                          FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN(float, dx);
    OPEN_FINISH;
    ELEMENT;
    int in_column = row % width, rest = row / width, in_row = rest % height, image = rest / height;
    float value = 0.0f;
    if (in_row % SH == 0 && in_column % SW == 0)
        value = dy[((size_t)(image * out_height + in_row / SH) * out_width + in_column / SW) * dy_stride + column];
    dx[(size_t)row * dx_stride + column] =
        undone(value, other + (size_t)row * other_stride + column, x + (size_t)row * x_stride + column, element,
               finish);
}

// Exchanges the two axes of each sample: columns = one x two becomes two x one. What turns features in the order
// H x W x C into the canonical C x H x W, and back.
KERNEL exchange_axes(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(float, y), int y_stride, int one, int two,
                     int rows, int columns)
{
    OPEN(const float, x);
    OPEN(float, y);
    ELEMENT;
    int of_two = column / one, of_one = column - of_two * one;
    y[(size_t)row * y_stride + column] = x[(size_t)row * x_stride + of_one * two + of_two];
}
