"""Formats of the report on a run's record."""
