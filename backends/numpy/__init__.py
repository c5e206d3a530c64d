"""The CPU backend in NumPy: products by BLAS, everything else by hand."""
