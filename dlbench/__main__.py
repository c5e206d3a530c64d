"""``python -m dlbench``."""

from dlbench.cli.main import main

main()
