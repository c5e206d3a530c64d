"""How much energy a device uses in given windows of time: GPUs by NVIDIA's driver, processors by RAPL."""
