"""What is checked of the very session that was timed."""
