"""The gate: has one version become slower than another by more than is tolerated?

Whoever blocks a merge on timings needs few false alarms, a bound on the time it takes, and "cannot
tell" as an answer. The decision is pure functions of paired processes, so that it can be tried on
recorded noise (`dlbench.gate.trial`) exactly as it is used live.
"""
