"""cuDNN without a framework, through its C library."""
