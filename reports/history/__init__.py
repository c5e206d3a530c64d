"""Formats of a history."""
