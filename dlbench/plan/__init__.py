"""From what was asked for to the cases of a run: decided before any worker starts."""
