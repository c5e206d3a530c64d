"""TensorFlow, on CPU or GPU."""
