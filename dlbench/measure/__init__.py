"""How a session is timed; runs inside the worker."""
