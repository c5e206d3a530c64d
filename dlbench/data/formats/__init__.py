"""Data sets in files as people have them: each form is read with bounds, and nothing in a file is believed or run."""
