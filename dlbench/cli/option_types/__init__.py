"""What values of options are."""
