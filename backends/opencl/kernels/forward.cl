// The forward product of convolution.cl. Constants: BIAS, POOL (not with POINTWISE).
//
// With POOL the largest of each 2 x 2 outputs is taken before anything is written: a quarter of the output goes to
// memory, and none of it has to be read again. `out_height` and `out_width` are then those of the pooled output, and
// `pixels` is four for each of its pixels.

#if POOL
#define PLACES_PARAMETER MEMORY(uchar, places),
#else
#define PLACES_PARAMETER
#endif

// Row `m` of the product as a pixel of the output: image, row, column. With POOL four rows make a pooling window, so that
// a thread holds it whole.
inline int4 output_pixel(Shape shape, int m)
{
#if POOL
    int window = m >> 2, place = m & 3;
    int column = window % shape.out_width, rest = window / shape.out_width;
    return (int4)(rest / shape.out_height, 2 * (rest % shape.out_height) + (place >> 1), 2 * column + (place & 1), 0);
#else
    int rest = m / shape.out_width;
    return (int4)(rest / shape.out_height, rest % shape.out_height, m % shape.out_width, 0);
#endif
}

#if CPU
// TM rows from `row` on of TN vectors of columns, for the k of one block.
#define ROWS_MADE \
    _Pragma("unroll") for (int m = 0; m < TM; ++m) _Pragma("unroll") for (int n = 0; n < TN; ++n)

KERNEL convolution_forward(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(const float, weight),
                           MEMORY(const float, bias), MEMORY(float, y), int y_stride, PLACES_PARAMETER SHAPE_PARAMETERS,
                           int k_share, FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(const float, weight);
    OPEN(const float, bias);
    OPEN(float, y);
#if POOL
    OPEN(uchar, places);
#endif
    OPEN_FINISH;
    OPEN_SHAPE;
    const int split = SPLIT, has_bias = BIAS;
    const int begin = get_group_id(2) * k_share;
    const int end = min(shape.kernel_height * shape.kernel_width * channels, begin + k_share);
    const int first_row = get_group_id(0) * BM, last_row = min(first_row + BM, pixels);
    const int first_column = get_group_id(1) * BN, last_column = min(first_column + BN, out_channels);
    if (split) y += (size_t)get_group_id(2) * pixels * out_channels;
    for (int column = first_column; column < last_column; column += LANES * TN)
        for (int row = first_row; row < last_row; row += TM) {
            float16 sums[TM][TN];
            ROWS_MADE sums[m][n] = 0.0f;
            int top[TM], left[TM], base[TM];
            for (int m = 0; m < TM; ++m) {
                int own = min(row + m, last_row - 1);
                int4 at = shape.pointwise ? (int4)(own, 0, 0, 0) : output_pixel(shape, own);
                base[m] = at.x * (shape.pointwise ? 1 : height * width);
                top[m] = at.y * shape.step_height - pad_height;
                left[m] = at.z * shape.step_width - pad_width;
            }
            int tap = shape.pointwise ? 0 : begin / channels, channel = begin - tap * channels, count;
            int tap_row = tap / shape.kernel_width, tap_column = tap - tap_row * shape.kernel_width;
            for (int k = begin; k < end; k += count, channel += count) {
                if (channel == channels) {
                    channel = 0;
                    if (++tap_column == shape.kernel_width) tap_column = 0, ++tap_row;
                }
                count = min(min(channels - channel, end - k), NOTHING_COUNT);
                int down = tap_row * shape.apart_height, right = tap_column * shape.apart_width;
                __global const float *from[TM];
                for (int m = 0; m < TM; ++m) {
                    int in_row = top[m] + down, in_column = left[m] + right;
                    int inside = shape.pointwise || ((uint)in_row < (uint)height && (uint)in_column < (uint)width);
                    size_t pixel = shape.pointwise ? base[m] : base[m] + in_row * width + in_column;
                    from[m] = inside ? x + pixel * x_stride + channel : NOTHING;
                }
                __global const float *factor = weight + (size_t)k * out_channels + column;
                for (int i = 0; i < count; ++i, factor += out_channels) {
                    float16 b[TN];
#pragma unroll
                    for (int n = 0; n < TN; ++n) b[n] = vload16(n, factor);
                    ROWS_MADE sums[m][n] += from[m][i] * b[n];
                }
            }
#pragma unroll
            for (int n = 0; n < TN; ++n) {
                int own = column + n * LANES, count = out_channels - own;
                if (count <= 0) continue;
                float16 shift = has_bias && !split ? vload16(0, bias + own) : (float16)(0.0f);
#if POOL
#pragma unroll
                for (int m = 0; m < TM; m += 4) {
                    if (row + m >= last_row) continue;
                    // The bias first: rounding may make equals of what differed without it.
                    float16 best = sums[m][n] + shift;
                    int16 place = 0;
#pragma unroll
                    for (int other = 1; other < 4; ++other) {
                        float16 value = sums[m + other][n] + shift;
                        int16 wins = (value > best) | ((value != value) & (best == best));
                        best = select(best, value, wins);
                        place = select(place, (int16)(other), wins);
                    }
                    size_t pixel = (row + m) / 4;
                    store_some(y + pixel * y_stride + own, finished16(best, pixel * out_channels + own, finish), count);
                    uchar each[LANES];
                    vstore16(convert_uchar16(place), 0, each);
                    for (int i = 0; i < min(count, LANES); ++i) places[pixel * out_channels + own + i] = each[i];
                }
#else
#pragma unroll
                for (int m = 0; m < TM; ++m) {
                    if (row + m >= last_row) continue;
                    size_t pixel = row + m;
                    if (split)
                        store_some(y + pixel * out_channels + own, sums[m][n], count);
                    else
                        store_some(y + pixel * y_stride + own,
                                   finished16(sums[m][n] + shift, pixel * out_channels + own, finish), count);
                }
#endif
            }
        }
}
#else
#define A_PASSES PASSES(BM, VA)
#define B_PASSES PASSES(BN, VB)

// A: what the windows of the tile's output pixels cover. B: rows (tap, i) of the weight.
#define FETCH_A \
    do { \
        Tap tap = tap_of(a_at, channels); \
        for (int pass = 0; pass < A_PASSES; ++pass) { \
            int row = top[pass] + tap.row * DH, column = left[pass] + tap.column * DW, offset = -1; \
            if (POINTWISE) { \
                if (base[pass] >= 0) offset = base[pass] + tap.channel; \
            } else if ((uint)row < (uint)height && (uint)column < (uint)width) \
                offset = base[pass] + (row * width + column) * x_stride + tap.channel; \
            LOAD_OR_ZERO(VA, a_values + pass * VA, x, a_at < end ? offset : -1); \
        } \
        a_at += BK; \
    } while (0)
#define FETCH_B \
    do { \
        for (int pass = 0; pass < B_PASSES; ++pass) { \
            int row = b_at + K_AT(BN, VB, pass); \
            int offset = row < end && b_column < out_channels ? row * out_channels + b_column : -1; \
            LOAD_OR_ZERO(VB, b_values + pass * VB, weight, offset); \
        } \
        b_at += BK; \
    } while (0)
#define PUT_A(tile) PUT_ALONG_K(BM, VA, tile, a_values)
#define PUT_B(tile) PUT_ALONG_SIDE(BN, VB, tile, b_values)

KERNEL convolution_forward(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(const float, weight),
                           MEMORY(const float, bias), MEMORY(float, y), int y_stride, PLACES_PARAMETER SHAPE_PARAMETERS,
                           int k_share, FINISH_PARAMETERS)
{
    OPEN(const float, x);
    OPEN(const float, weight);
    OPEN(const float, bias);
    OPEN(float, y);
#if POOL
    OPEN(uchar, places);
#endif
    OPEN_FINISH;
    OPEN_SHAPE;
    int rows = get_group_id(0) * BM, columns = get_group_id(1) * BN, begin = get_group_id(2) * k_share;
    int end = min(KH * KW * channels, begin + k_share);
    float a_values[A_PASSES * VA], b_values[B_PASSES * VB];
    int base[A_PASSES], top[A_PASSES], left[A_PASSES];
    int a_at = begin + K_OF(VA), b_at = begin, b_column = columns + SIDE_OF(BN, VB);
    for (int pass = 0; pass < A_PASSES; ++pass) {
        int m = rows + SIDE_AT(VA, pass), there = m < pixels && SIDE_AT(VA, pass) < BM;
        int4 at = there & !POINTWISE ? output_pixel(shape, m) : (int4)(0);
        base[pass] = POINTWISE ? (there ? m * x_stride : -1) : at.x * height * width * x_stride;
        top[pass] = there ? at.y * SH - pad_height : NOWHERE;
        left[pass] = at.z * SW - pad_width;
    }
    MULTIPLY(begin, end, FETCH_A, FETCH_B, PUT_A, PUT_B)
#if POOL
    for (int i = 0; i < TM; i += 4)
        for (int j = 0; j < TN; ++j) {
            int row = rows + ROW_AT(i), column = columns + COLUMN_AT(j);
            if (row >= pixels || column >= out_channels) continue;
            // The bias first: rounding may make equals of what differed without it.
            float shift = BIAS ? bias[column] : 0.0f, best = sums[i][j] + shift;
            int place = 0;
            for (int other = 1; other < 4; ++other)
                if (beats(sums[i + other][j] + shift, best)) {
                    best = sums[i + other][j] + shift;
                    place = other;
                }
            size_t pixel = row / 4, element = pixel * out_channels + column;
            y[pixel * y_stride + column] = finished(best, element, finish);
            places[element] = (uchar)place;
        }
#else
    if (SPLIT) y += (size_t)get_group_id(2) * pixels * out_channels;
    for (int i = 0; i < TM; ++i)
        for (int j = 0; j < TN; ++j) {
            int row = rows + ROW_AT(i), column = columns + COLUMN_AT(j);
            if (row >= pixels || column >= out_channels) continue;
            size_t element = (size_t)row * out_channels + column;
            if (SPLIT)
                y[element] = sums[i][j];
            else
                y[(size_t)row * y_stride + column] =
                    finished(sums[i][j] + (BIAS ? bias[column] : 0.0f), element, finish);
        }
#endif
}
#endif
