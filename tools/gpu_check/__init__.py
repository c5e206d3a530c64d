"""One command for a machine with a GPU, maybe without a network: its tests, the CPU against the GPU, one record.

Such machines are lent for minutes at a time. So the work is planned with the most important first, done in slices
that fit a limit, and gone on with exactly where it stopped.
"""
