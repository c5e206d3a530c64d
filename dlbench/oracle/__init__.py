"""The reference: every network and update rule once more, in float64 and plain NumPy, written for
clarity.

It shares no code with any backend. What it computes is by definition right, so it is itself tested
by finite differences and against PyTorch in float64.
"""
