"""NumPy as it is usually written: every window unrolled (im2col), one product a layer, one batch at a time."""
