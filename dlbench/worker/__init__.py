"""The process that a backend runs in, how the runner starts it, and what the two say to each other."""
