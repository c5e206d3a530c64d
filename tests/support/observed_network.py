"""A small network of which spans are taken: of each kind of layer one, a block, and names that tell them apart."""

from dlbench.spec.workload import Workload, read_workload

_CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
_ADAM = {"type": "adam", "learning_rate": 0.001}


def observed_network(side: int = 8, optimizer: dict[str, object] = _ADAM) -> Workload:
    """For inputs of 2 channels, `side` pixels high and wide, and 3 outputs."""
    return read_workload(
        {
            "input_shape": [2, side, side],
            "layers": [
                {**_CONV, "name": "first"},
                {"type": "relu", "name": "bend"},
                {"type": "batch_norm", "name": "norm"},
                {"type": "residual", "name": "sum", "body": [{**_CONV, "name": "within"}]},
                {"type": "max_pool", "name": "pool", "kernel": 2},
                {"type": "flatten", "name": "flat"},
                {"type": "dropout", "name": "drop", "rate": 0.5},
                {"type": "linear", "name": "last", "out_features": 3},
            ],
            "loss": "mean_squared_error",
            "optimizer": optimizer,
        }
    )
