"""The record of a run: its lines, its file, and when two records may be compared."""
