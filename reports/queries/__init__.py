"""What a run says of scenarios of inference besides its rows."""
