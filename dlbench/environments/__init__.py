"""A Python environment for a backend: made from a pinned recipe, kept in the user's data folder, found by a run."""
