"""What is measured: networks, losses, optimizers, and the suite files that name them."""
