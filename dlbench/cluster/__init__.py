"""Runs that several machines share, dealt out by a batch system through submitit."""
