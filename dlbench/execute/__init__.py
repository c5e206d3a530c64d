"""Carries a plan out: starts workers, schedules them, and writes each fact into the record at once."""
