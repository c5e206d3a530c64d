"""Holding a backend against the oracle, before and after it is timed."""
