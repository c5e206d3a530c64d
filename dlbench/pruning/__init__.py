"""Smaller networks out of larger ones: channels that are left out, and weights that are set to zero."""
