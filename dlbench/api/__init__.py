"""dlbench from Python: what `import dlbench` offers, and what the command line calls too."""
