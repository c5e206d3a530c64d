"""One command for a machine with a GPU, maybe without a network: its tests, the CPU against the GPU, one record.

Such machines are available for minutes at a time. So the work is planned with the most important first, done in
slices that fit a time limit, and resumed exactly where it stopped.
"""
