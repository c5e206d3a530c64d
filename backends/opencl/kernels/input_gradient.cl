// The input gradient of convolution.cl.

#if CPU
// Four pixels and four channels at a time. Both dy and the weight lie along the outputs' channels, so the sums are made in
// vectors along those and added up in the end; nothing is turned over. TM and TN are 4 here, and BM, BN multiples.
//
// Where the output pixels lie whose windows cover a pixel is worked out once for all channels, for as many rows as the
// table has room for.
#define TABLE 4096
#define MADE \
    _Pragma("unroll") for (int m = 0; m < 4; ++m) _Pragma("unroll") for (int c = 0; c < 4; ++c)

// The output pixel whose window covers an input pixel with this tap; -1 where there is none.
inline int covering(Shape shape, int pixel, int tap)
{
    if (shape.pointwise) return pixel;
    int rest = pixel / shape.width, tap_row = tap / shape.kernel_width, tap_column = tap - tap_row * shape.kernel_width;
    int row = rest % shape.height + shape.pad_height - tap_row * shape.apart_height;
    int column = pixel - rest * shape.width + shape.pad_width - tap_column * shape.apart_width;
    if (row < 0 || column < 0 || row % shape.step_height || column % shape.step_width) return -1;
    row /= shape.step_height;
    column /= shape.step_width;
    if (row >= shape.out_height || column >= shape.out_width) return -1;
    return (rest / shape.height * shape.out_height + row) * shape.out_width + column;
}

KERNEL convolution_input_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, weight),
                                  MEMORY(float, dx), int dx_stride, MEMORY(const float, other), int other_stride,
                                  MEMORY(const float, x), int x_stride, SHAPE_PARAMETERS, int k_share,
                                  FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, weight);
    OPEN(float, dx);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN_FINISH;
    OPEN_SHAPE;
    const int split = SPLIT, taps = shape.kernel_height * shape.kernel_width;
    const int begin = get_group_id(2) * k_share, end = min(taps * out_channels, begin + k_share);
    const int first_row = get_group_id(0) * BM, last_row = min(first_row + BM, pixels);
    const int first_column = get_group_id(1) * BN, last_column = min(first_column + BN, channels);
    const int has_table = 4 * taps <= TABLE, together = has_table ? TABLE / taps / 4 * 4 : 4;
    const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    int table[TABLE];
    if (split) dx += (size_t)get_group_id(2) * pixels * channels;
    for (int top = first_row; top < last_row; top += together) {
        const int bottom = min(top + together, last_row);
        if (has_table)
            for (int row = top, place = 0; row < bottom; ++row)
                for (int tap = 0; tap < taps; ++tap) table[place++] = covering(shape, row, tap);
        for (int column = first_column; column < last_column; column += 4)
            for (int row = top; row < bottom; row += 4) {
                float16 sums[4][4];
                MADE sums[m][c] = 0.0f;
                int tap = shape.pointwise ? 0 : begin / out_channels, channel = begin - tap * out_channels, count;
                for (int k = begin; k < end; k += count, channel += count) {
                    if (channel == out_channels) {
                        channel = 0;
                        ++tap;
                    }
                    count = min(min(out_channels - channel, end - k), NOTHING_COUNT);
                    int met = 0;
                    __global const float *from[4], *factor[4];
#pragma unroll
                    for (int m = 0; m < 4; ++m) {
                        int own = min(row + m, bottom - 1);
                        int pixel = has_table ? table[(own - top) * taps + tap] : covering(shape, own, tap);
                        from[m] = pixel < 0 ? NOTHING : dy + (size_t)pixel * dy_stride + channel;
                        met |= pixel >= 0;
                        int other_column = tap * channels + min(column + m, channels - 1);
                        factor[m] = weight + (size_t)other_column * out_channels + channel;
                    }
                    if (!met) continue;
                    int i = 0;
                    for (; i + LANES <= count; i += LANES) {
                        float16 a[4];
#pragma unroll
                        for (int m = 0; m < 4; ++m) a[m] = vload16(0, from[m] + i);
#pragma unroll
                        for (int c = 0; c < 4; ++c) {
                            float16 b = vload16(0, factor[c] + i);
#pragma unroll
                            for (int m = 0; m < 4; ++m) sums[m][c] += a[m] * b;
                        }
                    }
                    if (i == count) continue;
                    // What lies behind the end is read, and left out of the sums: of both, since it may be no number.
                    int16 there = lane < (int16)(count - i);
                    MADE sums[m][c] += select((float16)(0.0f), vload16(0, from[m] + i), there) *
                                       select((float16)(0.0f), vload16(0, factor[c] + i), there);
                }
#pragma unroll
                for (int m = 0; m < 4; ++m) {
                    if (row + m >= bottom) continue;
                    size_t pixel = row + m;
                    float4 four = sums_of(sums[m][0], sums[m][1], sums[m][2], sums[m][3]);
                    if (!split && column + 4 <= last_column) {
                        four = undone4(four, other + pixel * other_stride + column, x + pixel * x_stride + column,
                                       pixel * channels + column, finish);
                        vstore4(four, 0, dx + pixel * dx_stride + column);
                        continue;
                    }
                    float made[4];
                    vstore4(four, 0, made);
                    for (int c = 0; c < 4; ++c) {
                        int own = column + c;
                        if (own >= last_column) continue;
                        if (split)
                            dx[pixel * channels + own] = made[c];
                        else
                            dx[pixel * dx_stride + own] =
                                undone(made[c], other + pixel * other_stride + own, x + pixel * x_stride + own,
                                       pixel * channels + own, finish);
                    }
                }
            }
    }
}
#else
#define A_PASSES PASSES(BM, VA)
#define B_PASSES PASSES(BN, VB)

// A: the output pixels whose windows cover the tile's input pixels. B: the weight turned over, B[(tap, o)][i] =
// weight[tap][i][o].
#define FETCH_A \
    do { \
        Tap tap = tap_of(a_at, out_channels); \
        for (int pass = 0; pass < A_PASSES; ++pass) { \
            int offset = -1; \
            if (POINTWISE) { \
                if (base[pass] >= 0) offset = base[pass] + tap.channel; \
            } else { \
                int row = bottom[pass] - tap.row * DH, column = right[pass] - tap.column * DW; \
                int met = row >= 0 && column >= 0 && row % SH == 0 && column % SW == 0; \
                row /= SH; \
                column /= SW; \
                if (met && row < out_height && column < out_width) \
                    offset = base[pass] + (row * out_width + column) * dy_stride + tap.channel; \
            } \
            LOAD_OR_ZERO(VA, a_values + pass * VA, dy, a_at < end ? offset : -1); \
        } \
        a_at += BK; \
    } while (0)
#define FETCH_B \
    do { \
        Tap tap = tap_of(b_at, out_channels); \
        int first = (tap.row * KW + tap.column) * channels; \
        for (int pass = 0; pass < B_PASSES; ++pass) { \
            int channel = columns + SIDE_AT(VB, pass), offset = (first + channel) * out_channels + tap.channel; \
            LOAD_OR_ZERO(VB, b_values + pass * VB, weight, b_at < end && channel < channels ? offset : -1); \
        } \
        b_at += BK; \
    } while (0)
#define PUT_A(tile) PUT_ALONG_K(BM, VA, tile, a_values)
#define PUT_B(tile) PUT_ALONG_K(BN, VB, tile, b_values)

KERNEL convolution_input_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, MEMORY(const float, weight),
                                  MEMORY(float, dx), int dx_stride, MEMORY(const float, other), int other_stride,
                                  MEMORY(const float, x), int x_stride, SHAPE_PARAMETERS, int k_share,
                                  FINISH_PARAMETERS)
{
    OPEN(const float, dy);
    OPEN(const float, weight);
    OPEN(float, dx);
    OPEN(const float, other);
    OPEN(const float, x);
    OPEN_FINISH;
    int rows = get_group_id(0) * BM, columns = get_group_id(1) * BN, begin = get_group_id(2) * k_share;
    int end = min(KH * KW * out_channels, begin + k_share);
    float a_values[A_PASSES * VA], b_values[B_PASSES * VB];
    int base[A_PASSES], bottom[A_PASSES], right[A_PASSES];
    int a_at = begin + K_OF(VA), b_at = begin + K_OF(VB);
    for (int pass = 0; pass < A_PASSES; ++pass) {
        int m = rows + SIDE_AT(VA, pass), there = m < pixels && SIDE_AT(VA, pass) < BM;
        int rest = m / width, image = rest / height;
        base[pass] = POINTWISE ? (there ? m * dy_stride : -1) : image * out_height * out_width * dy_stride;
        bottom[pass] = there ? rest - image * height + pad_height : NOWHERE;
        right[pass] = m - rest * width + pad_width;
    }
    MULTIPLY(begin, end, FETCH_A, FETCH_B, PUT_A, PUT_B)
    if (SPLIT) dx += (size_t)get_group_id(2) * pixels * channels;
    for (int i = 0; i < TM; ++i)
        for (int j = 0; j < TN; ++j) {
            int row = rows + ROW_AT(i), column = columns + COLUMN_AT(j);
            if (row >= pixels || column >= channels) continue;
            size_t pixel = row, element = pixel * channels + column;
            if (SPLIT)
                dx[element] = sums[i][j];
            else
                dx[pixel * dx_stride + column] = undone(sums[i][j], other + pixel * other_stride + column,
                                                        x + pixel * x_stride + column, element, finish);
        }
}
#endif
