"""What the device and the host were doing while a case was timed: sampled beside the worker, kept raw, read later.

`watch` drives it, `sampler` is the thread, `host`, `gauges`, `utilization`, `gpm` and `processes` say how each
metric is read, `reading` turns traces into figures.
"""
