"""The stages of a run: each takes the cases that are well so far, finds something out about them, writes that down at
once, and gives back those that are still well."""
