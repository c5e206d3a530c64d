"""PyTorch with cuDNN, or its CPU build."""
