"""``python -m dlbench.gpu_check``, which `make gpu-check` calls."""

from dlbench.gpu_check.command import main

if __name__ == "__main__":
    main()
