"""Commands about frameworks rather than measurements: what else reads a network, and where backends are installed."""
