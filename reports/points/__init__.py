"""Formats for a suite at many points: what a sweep or a search found."""
