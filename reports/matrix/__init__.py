"""What each backend has of the specification, one file a format."""
