"""What is checked before anything is timed, a kind of check a module."""
