"""Why one row is faster than another, one file a format."""
