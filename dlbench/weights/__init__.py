"""Weights in files that other programs read and write."""
