"""A network as a list of kernel launches, for backends whose kernels are our own: what is fused, which memory, in which
order. A backend brings a `device.Device`, with its kernels and their tiles."""
