"""What trainings ended with."""
