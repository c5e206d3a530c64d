// Convolutions as matrix products without unfolded windows; a linear layer is one of 1 x 1 on images of one pixel.
//
// Images are N x H x W x C, with `stride` floats from pixel to pixel (more than C where channels of several layers
// share one array). The weight is kH x kW x I x O, so that its rows along O are what a product reads together.
// Products:
//   forward           y[pixel out][o]        = sum over (tap, i)     x[pixel in][i]  weight[tap, i][o]
//   input gradient    dx[pixel in][i]        = sum over (tap, o)     dy[pixel out][o] weight[tap, i][o]
//   weight gradient   dweight[tap, i][o]     = sum over pixels out   x[pixel in][i]  dy[pixel out][o]
// k can be shared out among blocks (`k_share` each, gridDim.z of them): then each writes its part of the sum, and the
// parts are added in a fixed order by whoever reads them. The order is the same in every run.
//
// Each product has a file; this one has what they share. Constants besides those of gemm.cu: KH KW SH SW DH DW
// (kernel, stride, dilation), POINTWISE (1 x 1, stride 1, no padding: pixels in and out are the same), SPLIT (k is
// shared out), STORE (elements of a row can be stored together).

struct Shape {
    int height, width, channels;                 // of the input
    int out_height, out_width, out_channels;     // of the output
    int pad_height, pad_width;
    int pixels;                                  // of all outputs (forward, weight gradient) or inputs
};

#define SHAPE_PARAMETERS \
    int height, int width, int channels, int out_height, int out_width, int out_channels, int pad_height, \
    int pad_width, int pixels
#define SHAPE {height, width, channels, out_height, out_width, out_channels, pad_height, pad_width, pixels}

// Far enough outside that no tap brings it inside again.
#define NOWHERE (-(1 << 28))

// (tap, channel) from a k, advanced by BK at a time: like the digits of a number to which always the same is added, so
// that each digit carries once at the most, however few channels there are.
struct Tap {
    int row, column, channel;
    int more_rows, more_columns, more_channels;

    __device__ __forceinline__ void start(int k, int channels)
    {
        int tap = POINTWISE ? 0 : k / channels;
        row = tap / KW;
        column = tap % KW;
        channel = k - tap * channels;
        int more_taps = POINTWISE ? 0 : BK / channels;
        more_rows = more_taps / KW;
        more_columns = more_taps % KW;
        more_channels = BK - more_taps * channels;
    }

    __device__ __forceinline__ void advance(int channels)
    {
        channel += more_channels;
        if (POINTWISE) return;
        column += more_columns;
        row += more_rows;
        if (channel >= channels) {
            channel -= channels;
            ++column;
        }
        if (column >= KW) {
            column -= KW;
            ++row;
        }
    }
};

// Writes a block's part of a sum that is finished elsewhere.
struct Parts {
    float* to;
    int first_row, first_column, rows, columns;

    __device__ __forceinline__ void row(int row, int column, const float* values)
    {
        row += first_row;
        column += first_column;
        if (row < rows && column < columns) store<STORE>(to + row * columns + column, values, columns - column);
    }
};
