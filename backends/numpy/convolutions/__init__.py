"""Convolutions of the NumPy backend: each kind of them in the way that suits it."""
