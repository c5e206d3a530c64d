"""Whether weights that one backend was trained to give the same on another."""
