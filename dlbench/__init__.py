"""dlbench: one CNN workload, several backends, proved to compute the same, timed honestly."""

__version__ = "0.1.0.dev0"
