"""Commands that run one suite at many points."""
