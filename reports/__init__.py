"""Reports: one file per format, each a pure function from results to text over one shared table."""
