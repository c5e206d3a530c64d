"""The train step and the inference of cnn-mnist by hand in JAX and in Keras, as users of either write them."""

import numpy as np

BATCH = 64


def jax_by_hand(arrays, weights, optimizer, mode, precision):
    """One compiled function a step, images N×H×W×C, the state donated."""
    import jax
    import jax.numpy as jnp

    def inside(array):
        return jnp.array(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T)

    layout = ("NHWC", "HWIO", "NHWC")
    parameters = [inside(array) for array in weights.values()]
    kept = [jnp.array(parameter) for parameter in parameters]
    state = [parameters, [jnp.zeros_like(parameter) for parameter in parameters], 0]
    batches = [
        (jnp.array(np.ascontiguousarray(images.transpose(0, 2, 3, 1))), jnp.array(labels))
        for images, labels in arrays
    ]

    def dropout(x, rate, key):
        if key is None:
            return x
        return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)

    def forward(own, x, keys=(None, None)):
        w1, b1, w2, b2, w3, b3, w4, b4 = own
        x = jax.nn.relu(
            jax.lax.conv_general_dilated(x, w1, (1, 1), "VALID", dimension_numbers=layout) + b1
        )
        x = jax.nn.relu(
            jax.lax.conv_general_dilated(x, w2, (1, 1), "VALID", dimension_numbers=layout) + b2
        )
        window = (1, 2, 2, 1)
        x = jax.lax.reduce_window(x, -np.inf, jax.lax.max, window, window, "VALID")
        x = dropout(x, 0.25, keys[0]).reshape(BATCH, 9216)
        x = dropout(jax.nn.relu(x @ w3 + b3), 0.5, keys[1])
        return x @ w4 + b4

    def mean_loss(own, x, labels, keys):
        logs = jax.nn.log_softmax(forward(own, x, keys))
        return -jnp.take_along_axis(logs, labels[:, None], 1).mean()

    def step(state, x, labels, rate):
        own, velocities, number = state
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), number))
        loss, gradients = jax.value_and_grad(mean_loss)(own, x, labels, keys)
        velocities = [
            optimizer.momentum * v + g for v, g in zip(velocities, gradients, strict=True)
        ]
        own = [w - rate * v for w, v in zip(own, velocities, strict=True)]
        return loss, [own, velocities, number + 1]

    step, forward = jax.jit(step, donate_argnums=0), jax.jit(forward)

    def train(index):
        nonlocal state
        loss, state = step(state, *batches[index], optimizer.learning_rate)
        jax.block_until_ready((loss, state))

    def infer(index):
        jax.block_until_ready(forward(kept, batches[index][0]))

    return {"train": train, "infer": infer}


def keras_by_hand(arrays, weights, optimizer, mode, precision):
    """A sequential model with Keras' own optimizer, trained on batches."""
    import keras
    from keras import layers

    last = mode != "torch"
    of = {"data_format": "channels_last" if last else "channels_first"}
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1) if last else (1, 28, 28), batch_size=BATCH),
            layers.Conv2D(32, 3, activation="relu", **of),
            layers.Conv2D(64, 3, activation="relu", **of),
            layers.MaxPooling2D(2, **of),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.SGD(optimizer.learning_rate, optimizer.momentum),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=mode in ("jax", "tensorflow-xla"),
    )
    batches = [
        (
            keras.ops.convert_to_tensor(images.transpose(0, 2, 3, 1) if last else images),
            keras.ops.convert_to_tensor(labels),
        )
        for images, labels in arrays
    ]
    return {
        "train": lambda index: model.train_on_batch(*batches[index]),
        "infer": lambda index: model.predict_on_batch(batches[index][0]),
    }
