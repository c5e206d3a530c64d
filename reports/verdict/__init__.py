"""Formats of the verdicts of a comparison or a gate."""
