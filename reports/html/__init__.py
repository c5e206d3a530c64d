"""A report as one page that needs nothing else: no network, no scripts, no fonts of its own."""
