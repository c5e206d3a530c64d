// The weight gradient of convolution.cl. Constant: BIAS.
//
// The parts of a parameter's gradient lie `part_stride` floats apart; the bias is the last row of its weight.

#if CPU
// A block goes through its pixels in pieces that stay in the cache, and through all of its tiles for each of them; the
// sums wait in memory meanwhile. That also keeps digits: one sum of a thousand terms would lose some.
#define PIECE 128
#define SUMS_MADE \
    _Pragma("unroll") for (int m = 0; m < TM; ++m) _Pragma("unroll") for (int n = 0; n < TN; ++n)

// Adds what the pixels from `begin` to `end` give for one tap: rows are `count` channels of x from `channel` on.
inline void add_pixels(float16 sums[TM][TN], __global const float *x, int x_stride, __global const float *dy,
                       int dy_stride, Shape shape, int tap, int channel, int count, int begin, int end)
{
    // Of its own, so that they stay in registers: what is handed in may lie anywhere, for all that a compiler knows.
    float16 made[TM][TN];
    SUMS_MADE made[m][n] = sums[m][n];
    // Rows that are too many are the last one once more, and not stored.
    int own[TM];
    for (int m = 0; m < TM; ++m) own[m] = min(m, count - 1);
    int down = tap / shape.kernel_width * shape.apart_height - shape.pad_height;
    int right = tap % shape.kernel_width * shape.apart_width - shape.pad_width;
    int width = shape.pointwise ? end : shape.out_width;
    for (int line = shape.pointwise ? 0 : begin / width; line * width < end; ++line) {
        int first = max(begin - line * width, 0), last = min(end - line * width, width), step = 1;
        __global const float *from = x + channel;
        if (shape.pointwise) {
            from += (size_t)first * x_stride;
        } else {
            int row = line % shape.out_height * shape.step_height + down, image = line / shape.out_height;
            if ((uint)row >= (uint)shape.height) continue;
            step = shape.step_width;
            if (right < 0) first = max(first, (-right + step - 1) / step);
            if (right >= shape.width) continue;
            last = min(last, (shape.width - 1 - right) / step + 1);
            if (first >= last) continue;
            from += ((size_t)(image * shape.height + row) * shape.width + first * step + right) * x_stride;
        }
        __global const float *gradient = dy + ((size_t)line * width + first) * dy_stride;
        size_t apart = (size_t)step * x_stride;
        if (count >= TM) {
            for (int column = first; column < last; ++column, from += apart, gradient += dy_stride) {
                float16 b[TN];
#pragma unroll
                for (int n = 0; n < TN; ++n) b[n] = vload16(n, gradient);
                SUMS_MADE made[m][n] += from[m] * b[n];
            }
        } else {
            for (int column = first; column < last; ++column, from += apart, gradient += dy_stride) {
                float16 b[TN];
#pragma unroll
                for (int n = 0; n < TN; ++n) b[n] = vload16(n, gradient);
                SUMS_MADE made[m][n] += from[own[m]] * b[n];
            }
        }
    }
    SUMS_MADE sums[m][n] = made[m][n];
}

KERNEL convolution_weight_gradient(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(const float, dy),
                                   int dy_stride, MEMORY(float, parts), int part_stride, SHAPE_PARAMETERS, int k_share)
{
    OPEN(const float, x);
    OPEN(const float, dy);
    OPEN(float, parts);
    OPEN_SHAPE;
    const int rows = shape.kernel_height * shape.kernel_width * channels;
    const int begin = get_group_id(2) * k_share, end = min(pixels, begin + k_share);
    const int first_row = get_group_id(0) * BM, last_row = min(first_row + BM, rows);
    const int first_column = get_group_id(1) * BN, last_column = min(first_column + BN, out_channels);
    parts += (size_t)get_group_id(2) * part_stride;
    for (int piece = begin; piece < end; piece += PIECE)
        for (int row = first_row, count; row < last_row; row += count) {
            int tap = row / channels, channel = row - tap * channels;
            count = min(min(TM, channels - channel), last_row - row);
            for (int column = first_column; column < last_column; column += LANES * TN) {
                float16 sums[TM][TN];
                __global float *to = parts + (size_t)row * out_channels + column;
                SUMS_MADE sums[m][n] = 0.0f;
                add_pixels(sums, x, x_stride, dy + column, dy_stride, shape, tap, channel, count, piece,
                           min(piece + PIECE, end));
                SUMS_MADE {
                    int there = out_channels - column - n * LANES;
                    __global float *own = to + (size_t)m * out_channels + n * LANES;
                    if (m >= count || there <= 0) continue;
                    float16 before = piece == begin ? (float16)(0.0f) : vload16(0, own);
                    store_some(own, before + sums[m][n], there);
                }
            }
        }
    if (!BIAS || get_group_id(0) != 0) return;
    for (int column = first_column; column < last_column; column += LANES) {
        float16 sum = 0.0f;
        for (int piece = begin; piece < end; piece += PIECE) {
            float16 own = 0.0f;
            for (int pixel = piece; pixel < min(piece + PIECE, end); ++pixel)
                own += vload16(0, dy + (size_t)pixel * dy_stride + column);
            sum += own;
        }
        store_some(parts + (size_t)rows * out_channels + column, sum, out_channels - column);
    }
}
#else
#define A_PASSES PASSES(BM, VA)
#define B_PASSES PASSES(BN, VB)

// A: for each output pixel, the inputs under the tile's (tap, i). B: the output pixels' gradients. The bias' gradient is
// the sum of those.
#define FETCH_A \
    do { \
        for (int pass = 0; pass < A_PASSES; ++pass) { \
            int pixel = a_at + K_AT(BM, VA, pass), offset = -1; \
            if (POINTWISE) { \
                if (tap_row >= 0) offset = pixel * x_stride + channel; \
            } else { \
                int rest = pixel / out_width, image = rest / out_height; \
                int row = (rest - image * out_height) * SH + tap_row, column = (pixel - rest * out_width) * SW + tap_column; \
                if ((uint)row < (uint)height && (uint)column < (uint)width) \
                    offset = ((image * height + row) * width + column) * x_stride + channel; \
            } \
            LOAD_OR_ZERO(VA, a_values + pass * VA, x, pixel < end ? offset : -1); \
        } \
        a_at += BK; \
    } while (0)
#define FETCH_B \
    do { \
        for (int pass = 0; pass < B_PASSES; ++pass) { \
            int pixel = b_at + K_AT(BN, VB, pass), there = pixel < end && K_AT(BN, VB, pass) < BK; \
            int offset = there && b_column < out_channels ? pixel * dy_stride + b_column : -1; \
            LOAD_OR_ZERO(VB, b_values + pass * VB, dy, offset); \
            for (int v = 0; v < VB; ++v) bias_sums[v] += b_values[pass * VB + v]; \
        } \
        b_at += BK; \
    } while (0)
#define PUT_A(tile) PUT_ALONG_SIDE(BM, VA, tile, a_values)
#define PUT_B(tile) PUT_ALONG_SIDE(BN, VB, tile, b_values)

KERNEL convolution_weight_gradient(OPTIONS MEMORY(const float, x), int x_stride, MEMORY(const float, dy),
                                   int dy_stride, MEMORY(float, parts), int part_stride, SHAPE_PARAMETERS, int k_share)
{
    OPEN(const float, x);
    OPEN(const float, dy);
    OPEN(float, parts);
    int rows = get_group_id(0) * BM, columns = get_group_id(1) * BN, begin = get_group_id(2) * k_share;
    int end = min(pixels, begin + k_share), all = KH * KW * channels;
    parts += (size_t)get_group_id(2) * part_stride;
    float a_values[A_PASSES * VA], b_values[B_PASSES * VB], bias_sums[VB];
    int index = rows + SIDE_OF(BM, VA), tap = index / channels, channel = index - tap * channels;
    int tap_row = index < all ? tap / KW * DH - (POINTWISE ? 0 : pad_height) : NOWHERE;
    int tap_column = tap % KW * DW - pad_width;
    int a_at = begin, b_at = begin, b_column = columns + SIDE_OF(BN, VB);
    for (int v = 0; v < VB; ++v) bias_sums[v] = 0.0f;
    MULTIPLY(begin, end, FETCH_A, FETCH_B, PUT_A, PUT_B)
    for (int i = 0; i < TM; ++i)
        for (int j = 0; j < TN; ++j) {
            int row = rows + ROW_AT(i), column = columns + COLUMN_AT(j);
            if (row < all && column < out_channels) parts[(size_t)row * out_channels + column] = sums[i][j];
        }
    // Of each of the tile's columns: of those of the threads that read it, in their order. All of a column read the same.
    __local float others[THREADS * VB];
    int own = get_local_id(0);
    for (int v = 0; v < VB; ++v) others[own * VB + v] = bias_sums[v];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (!BIAS || get_group_id(0) != 0) return;
    for (int column = own; column < BN; column += THREADS) {
        float sum = 0.0f;
        for (int i = column; i < THREADS * VB; i += BN) sum += others[i];
        if (columns + column < out_channels) parts[(size_t)all * out_channels + columns + column] = sum;
    }
}
#endif
