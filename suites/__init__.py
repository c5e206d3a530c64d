"""Suites: one TOML file each, with nothing else to read to know what is measured."""
