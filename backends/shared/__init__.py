"""What several backends use: checks of plans, the CUDA driver, fusion."""
