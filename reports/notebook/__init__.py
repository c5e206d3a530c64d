"""Pieces of HTML for notebooks, of whatever has a table."""
