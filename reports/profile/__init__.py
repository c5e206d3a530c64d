"""Profiles as they are shown, one file a format."""
