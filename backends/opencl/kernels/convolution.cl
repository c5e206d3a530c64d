// Convolutions as matrix products without unfolded windows; a linear layer is one of 1 x 1 on images of one pixel.
//
// Images are N x H x W x C, with `stride` floats from pixel to pixel (more than C where channels of several layers
// share one array). The weight is kH x kW x I x O, so that its rows along O are what a product reads together.
// Products:
//   forward           y[pixel out][o]        = sum over (tap, i)     x[pixel in][i]  weight[tap, i][o]
//   input gradient    dx[pixel in][i]        = sum over (tap, o)     dy[pixel out][o] weight[tap, i][o]
//   weight gradient   dweight[tap, i][o]     = sum over pixels out   x[pixel in][i]  dy[pixel out][o]
// k can be shared out among blocks (`k_share` each, a layer of the grid for each): then each writes its part of the sum,
// and the parts are added in a fixed order by whoever reads them. The order is the same in every run.
//
// Each product has a file; this one has what they share. Constants besides those of gemm.cl: KH KW SH SW DH DW
// (kernel, stride, dilation), POINTWISE (1 x 1, stride 1, no padding: pixels in and out are the same), SPLIT (k is
// shared out).

typedef struct {
    int height, width, channels;                 // of the input
    int out_height, out_width, out_channels;     // of the output
    int pad_height, pad_width;
    int pixels;                                  // of all outputs (forward, weight gradient) or inputs
    int kernel_height, kernel_width, step_height, step_width, apart_height, apart_width, pointwise;
} Shape;

#define SHAPE_PARAMETERS \
    int height, int width, int channels, int out_height, int out_width, int out_channels, int pad_height, \
    int pad_width, int pixels
#define OPEN_SHAPE \
    Shape shape = {height,    width,  channels, out_height, out_width, out_channels, pad_height, pad_width, \
                   pixels,    KH,     KW,       SH,         SW,        DH,           DW,         POINTWISE}

// Far enough outside that no tap brings it inside again.
#define NOWHERE (-(1 << 28))

#if !CPU
// (tap, channel) from a k, advanced by BK at a time.
typedef struct {
    int row, column, channel;
} Tap;

inline Tap tap_of(int k, int channels)
{
    int tap = POINTWISE ? 0 : k / channels;
    Tap found = {tap / KW, tap % KW, k - tap * channels};
    return found;
}
#endif
