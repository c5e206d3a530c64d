"""What a device was doing while a case was timed: sampled beside the worker, kept raw, read later.

`watch` drives it and `sampler` is the thread; `gauges`, `utilization`, `gpm` and `processes` say how each metric is
read; `windows` and `quantities` turn traces into figures, and `columns` these into the table's.
"""
