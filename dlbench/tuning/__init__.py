"""One suite at many points: which values of its fields are best, and what cannot be told from them."""
