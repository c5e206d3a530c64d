"""What authors of backends may use beside the contract: refusals in one wording, the optimizers as pure functions, and
a base for functional frameworks. dlbench's own backends use it like anybody's."""
