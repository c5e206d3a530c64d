// The gradient of a bias that no product sums with its weight's: of each channel over all rows, in parts of a share of the
// rows each, which the optimizer's launch adds. A thread takes VC neighbouring channels.
//
// Constant: VC.

KERNEL bias_gradient(OPTIONS MEMORY(const float, dy), int dy_stride, int rows, int channels, int per_share,
                     MEMORY(float, parts), int part_stride)
{
    OPEN(const float, dy);
    OPEN(float, parts);
    const int channel = (int)get_global_id(0) * VC, share = get_group_id(1);
    if (channel >= channels) return;
    Floats sums = 0.0f, lost = 0.0f;
    for (int row = share * per_share; row < min((share + 1) * per_share, rows); ++row)
        add_to(&sums, &lost, READ(dy + (size_t)row * dy_stride + channel));
    WRITE(sums, parts + (size_t)share * part_stride + channel);
}
