// Pooling over N x H x W x C. A thread takes VC neighbouring channels, 4 where they can be read at once (on processors 16):
// finding out which pixel it is at takes longer than what it does there. Neighbouring threads take neighbouring channels.
//
// The backward passes gather: a thread makes one element of dx from the windows that cover it, in their order, so
// that nothing is added up by two threads and every run gives the same bits.
//
// Constants: KH KW SH SW, VC. A place within a window is kept in a byte: KH * KW is at most 256. Windows may reach
// beyond the padding: that never wins and never counts.
//
// TOP BOTTOM LEFT RIGHT: places of the padding that count in a mean.
#ifndef TOP
#define TOP 0
#define BOTTOM 0
#define LEFT 0
#define RIGHT 0
#endif

#define POOL_PARAMETERS \
    int height, int width, int channels, int out_height, int out_width, int pad_height, int pad_width, int size

#define WINDOW_START \
    START; \
    const int kernel_height = KH, kernel_width = KW; \
    int out_column = pixel % out_width, rest = pixel / out_width; \
    int out_row = rest % out_height, image = rest / out_height; \
    int top = out_row * SH - pad_height, left = out_column * SW - pad_width

// y[n][oh][ow][c], and which place of its window each maximum came from: the first of several.
KERNEL max_pool(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(float, y), int y_stride, MEMORY(uchar, places),
                POOL_PARAMETERS, FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(float, y);
    OPEN(uchar, places);
    OPEN_FINISH;
    WINDOW_START;
    Floats best = 0.0f;
    Ints place = 0;
    int found = 0;
    for (int i = 0; i < kernel_height; ++i)
        for (int j = 0; j < kernel_width; ++j) {
            int row = top + i, column = left + j;
            if ((uint)row >= (uint)height || (uint)column >= (uint)width) continue;
            Floats values = READ(x + ((size_t)(image * height + row) * width + column) * x_stride + channel);
            Ints wins = (values > best) | ((values != values) & (best == best));
            best = found ? select(best, values, wins) : values;
            place = found ? select(place, (Ints)(i * kernel_width + j), wins) : (Ints)(i * kernel_width + j);
            found = 1;
        }
    put(y + (size_t)pixel * y_stride + channel, best, element, finish);
    WRITE(BYTES(place), places + element);
}

// The windows that cover a place along one axis: from `first` to `last`.
inline void covering(int place, int pad, int kernel_size, int step, int count, int *first, int *last)
{
    int reach = place + pad - kernel_size + 1;
    *first = reach <= 0 ? 0 : (reach + step - 1) / step;
    *last = min((place + pad) / step, count - 1);
}

#define GRADIENT_START \
    START; \
    const int kernel_height = KH, kernel_width = KW, step_height = SH, step_width = SW; \
    int column = pixel % width, rest = pixel / width, row = rest % height, image = rest / height; \
    int first_row, last_row, first_column, last_column; \
    covering(row, pad_height, kernel_height, step_height, out_height, &first_row, &last_row); \
    covering(column, pad_width, kernel_width, step_width, out_width, &first_column, &last_column); \
    Floats sums = 0.0f

#define GRADIENT_END \
    put_gradient(dx + (size_t)pixel * dx_stride + channel, sums, other + (size_t)pixel * other_stride + channel, \
                 x + (size_t)pixel * x_stride + channel, element, finish)

KERNEL max_pool_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const uchar, places),
                         MEMORY(const float, other), int other_stride, MEMORY(const float, x), int x_stride,
                         MEMORY(float, dx), int dx_stride, POOL_PARAMETERS, FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const uchar, places);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN(float, dx);
    OPEN_FINISH;
    GRADIENT_START;
    for (int i = first_row; i <= last_row; ++i)
        for (int j = first_column; j <= last_column; ++j) {
            int window = (image * out_height + i) * out_width + j;
            int place = (row + pad_height - i * step_height) * kernel_width + column + pad_width - j * step_width;
            Ints from = INTS(READ(places + (size_t)window * channels + channel)) == (Ints)(place);
            sums += select((Floats)(0.0f), READ(dy + (size_t)window * dy_stride + channel), from);
        }
    GRADIENT_END;
}

// How many places of a window lie inside the image and what counts of its padding, along one axis.
inline int inside(int window, int pad, int kernel_size, int step, int count, int before, int behind)
{
    int first = window * step - pad;
    return min(first + kernel_size, count + behind) - max(first, -before);
}

#define COUNTED(row, column) \
    (inside(row, pad_height, KH, SH, height, TOP, BOTTOM) * inside(column, pad_width, KW, SW, width, LEFT, RIGHT))

KERNEL avg_pool(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(float, y), int y_stride, POOL_PARAMETERS,
                FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(float, y);
    OPEN_FINISH;
    WINDOW_START;
    Floats sums = 0.0f;
    for (int i = 0; i < kernel_height; ++i)
        for (int j = 0; j < kernel_width; ++j) {
            int row = top + i, column = left + j;
            if ((uint)row >= (uint)height || (uint)column >= (uint)width) continue;
            sums += READ(x + ((size_t)(image * height + row) * width + column) * x_stride + channel);
        }
    int count = COUNTED(out_row, out_column);
    sums /= (float)count;
    put(y + (size_t)pixel * y_stride + channel, sums, element, finish);
}

KERNEL avg_pool_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, other), int other_stride,
                         MEMORY(const float, x), int x_stride, MEMORY(float, dx), int dx_stride, POOL_PARAMETERS,
                         FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN(float, dx);
    OPEN_FINISH;
    GRADIENT_START;
    for (int i = first_row; i <= last_row; ++i)
        for (int j = first_column; j <= last_column; ++j) {
            int window = (image * out_height + i) * out_width + j;
            float count = (float)COUNTED(i, j);
            sums += READ(dy + (size_t)window * dy_stride + channel) / count;
        }
    GRADIENT_END;
}

// The mean of each channel of an image. size: images x channels.
KERNEL global_avg_pool(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(float, y), int y_stride, int pixels,
                       int channels, int size, FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(float, y);
    OPEN_FINISH;
    START;
    __global const float *from = x + (size_t)pixel * pixels * x_stride + channel;
    Floats sums = 0.0f;
    for (int i = 0; i < pixels; ++i) sums += READ(from + (size_t)i * x_stride);
    sums /= (float)pixels;
    put(y + (size_t)pixel * y_stride + channel, sums, element, finish);
}

// size: elements of dx.
KERNEL global_avg_pool_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, other),
                                int other_stride, MEMORY(const float, x), int x_stride, MEMORY(float, dx),
                                int dx_stride, int pixels, int channels, int size, FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN(float, dx);
    OPEN_FINISH;
    START;
    Floats sums = READ(dy + (size_t)(pixel / pixels) * dy_stride + channel) / (float)pixels;
    GRADIENT_END;
}

// Of windows that differ by a row: window i of `windows` is from i * count / windows, rounded down, to before
// (i + 1) * count / windows, rounded up.
inline int window_begin(int window, int windows, int count) { return window * count / windows; }
inline int window_end(int window, int windows, int count) { return ((window + 1) * count + windows - 1) / windows; }

KERNEL adaptive_avg_pool(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(float, y), int y_stride, POOL_PARAMETERS,
                         FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(float, y);
    OPEN_FINISH;
    START;
    int out_column = pixel % out_width, rest = pixel / out_width, out_row = rest % out_height, image = rest / out_height;
    int top = window_begin(out_row, out_height, height), bottom = window_end(out_row, out_height, height);
    int left = window_begin(out_column, out_width, width), right = window_end(out_column, out_width, width);
    Floats sums = 0.0f;
    for (int row = top; row < bottom; ++row)
        for (int column = left; column < right; ++column)
            sums += READ(x + ((size_t)(image * height + row) * width + column) * x_stride + channel);
    sums /= (float)((bottom - top) * (right - left));
    put(y + (size_t)pixel * y_stride + channel, sums, element, finish);
}

KERNEL adaptive_avg_pool_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, other),
                                  int other_stride, MEMORY(const float, x), int x_stride, MEMORY(float, dx),
                                  int dx_stride, POOL_PARAMETERS, FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN(float, dx);
    OPEN_FINISH;
    START;
    int column = pixel % width, rest = pixel / width, row = rest % height, image = rest / height;
    Floats sums = 0.0f;
    // The windows that have the place: from the one that it begins in to the one that its end lies in.
    for (int i = row * out_height / height; i < window_end(row, height, out_height); ++i) {
        int rows = window_end(i, out_height, height) - window_begin(i, out_height, height);
        for (int j = column * out_width / width; j < window_end(column, width, out_width); ++j) {
            int columns = window_end(j, out_width, width) - window_begin(j, out_width, width);
            int window = (image * out_height + i) * out_width + j;
            sums += READ(dy + (size_t)window * dy_stride + channel) / (float)(rows * columns);
        }
    }
    GRADIENT_END;
}
