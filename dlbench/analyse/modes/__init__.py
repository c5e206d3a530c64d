"""Of the modes and precisions of a backend: which was chosen, what the arithmetic has to do with it, what it costs."""
