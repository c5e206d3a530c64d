"""Kernels of our own in OpenCL C, on any device that an OpenCL driver has: processors (PoCL) and GPUs."""
