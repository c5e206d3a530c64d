"""The commands for a run that several machines share."""
