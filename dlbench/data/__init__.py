"""Data: where a run's samples come from, in which order, and proof of which samples they were."""
