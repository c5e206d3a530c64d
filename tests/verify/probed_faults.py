"""Which faults of `faulty.py` are gross in which probe."""

# part of a probe's name: (workload, the faults that the probe makes gross)
PROBES = {
    "four values a channel": (
        "norm",
        [
            "biased running variance",
            "unbiased variance to normalise",
            "batch norm's momentum read the Keras way",
            "running standard deviation",
        ],
    ),
    "four values a feature": (
        "norm of features",
        [
            "biased running variance of features",
            "unbiased variance to normalise",
            "batch norm's momentum read the Keras way",
        ],
    ),
    "variance of a feature near eps": (
        "norm of features",
        ["batch norm's eps outside the root", "batch norm's eps is 1e-3"],
    ),
    "variance of a channel near eps": (
        "norm",
        [
            "batch norm's eps outside the root",
            "batch norm's eps is 1e-3",
            "batch norm's eps is 0",
            "eps enters the running variance",
        ],
    ),
    "negative values with padding": (
        "max pool",
        ["max pool's padding is zeros", "max pool averages"],
    ),
    "at the border": ("average pool", ["average pooling counts padding"]),
    "max_pool with ceil_mode": ("max pool in ceil mode", ["max pool's padding is zeros"]),
    "avg_pool with ceil_mode count_include_pad": (
        "average that counts padding",
        ["average pooling never counts padding", "what lies beyond the padding counts too"],
    ),
    "avg_pool with ceil_mode": (
        "average without a last window",
        ["average pooling counts padding"],
    ),
    "strided convolution": (
        "convolution",
        ["padding behind only", "padding of TensorFlow's SAME", "kernel flipped"],
    ),
    "several outputs": ("squared error", ["squared error summed over features"]),
    "smooth network": (
        "squared error",
        [
            "Nesterov though not asked for",
            "momentum with dampening",
            "momentum forgotten",
            "learning rate inside the velocity",
        ],
    ),
}
EPS_PROBE = {
    "Adam": [
        "Adam's eps before the correction",
        "Adam's eps inside the root",
        "Adam's eps is 1e-7",
    ],
    "Adagrad": ["Adagrad's eps inside the root", "Adagrad's accumulator starts at 0.1"],
    "RMSprop": [
        "RMSprop's eps inside the root",
        "RMSprop's squares start at 1",
        "RMSprop corrected for its start",
    ],
    "Adadelta": ["Adadelta's eps outside the roots", "Adadelta's changes without a root"],
}
DECAY_PROBE = {
    "AdamW": ["weight decay of AdamW coupled", "decoupled decay after the update"],
    "Adam": ["weight decay of Adam decoupled", "no bias correction"],
    "convolution": ["weight decay of SGD decoupled", "no weight decay on biases"],
    "RMSprop with momentum": [
        "RMSprop with Nesterov's momentum",
        "RMSprop's momentum forgotten",
        "learning rate inside RMSprop's velocity",
    ],
    "Adadelta": ["Adadelta's changes are never kept", "Adadelta's eps outside the roots"],
}


# workload: fault: what the reason says that the optimizer's rule was taken for
MISREADINGS = {
    "convolution": {
        "momentum forgotten": "momentum forgotten",
        "momentum with dampening": "a velocity with dampening",
        "velocity is an average": "a velocity that is an average",
        "learning rate inside the velocity": "the learning rate inside the velocity",
        "Nesterov though not asked for": "Nesterov's momentum",
        "no weight decay": "no weight decay",
        "no weight decay on biases": "no weight decay of biases",
    },
    "weights alone decay": {"biases decay all the same": "a weight decay of biases too"},
    "clipped": {
        "gradients are not clipped": "gradients that are not clipped",
        "each gradient clipped by itself": "a clipping of each gradient by its own norm",
    },
    "Adam": {
        "Adam's eps inside the root": "eps inside the root",
        "Adam's eps before the correction": "eps added before the bias correction",
        "no bias correction": "no bias correction",
        "weight decay of Adam decoupled": "a decoupled weight decay",
    },
    "AdamW": {"weight decay of AdamW coupled": "a coupled weight decay"},
    "Adagrad": {
        "Adagrad's eps inside the root": "eps inside the root",
        "Adagrad's accumulator starts at 0.1": "an accumulator that starts at 0.1",
        "Adagrad's accumulator decays": "",
    },
    "RMSprop": {"RMSprop's eps inside the root": "eps inside the root", "RMSprop centered": ""},
    "RMSprop with momentum": {
        "learning rate inside RMSprop's velocity": "the learning rate inside the velocity",
        "RMSprop's momentum forgotten": "momentum forgotten",
    },
    "Adadelta": {"Adadelta's eps outside the roots": "eps outside the roots"},
}
