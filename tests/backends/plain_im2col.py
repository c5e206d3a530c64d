"""The usual NumPy CNN, for comparison: N×C×H×W, the windows of the whole batch unrolled, every result a new array."""

import numpy as np


def windows_of(x, kernel, stride=(1, 1), padding=(0, 0), fill=0.0):
    """N×C×k×H'×W' copied out, and the padded shape."""
    edges = ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)
    padded = np.pad(x, edges, constant_values=fill) if any(padding) else x
    view = np.lib.stride_tricks.sliding_window_view(padded, kernel, (2, 3))
    view = view[:, :, :: stride[0], :: stride[1]].transpose(0, 1, 4, 5, 2, 3)
    return np.ascontiguousarray(view), padded.shape


def added_back(columns, padded_shape, stride, padding):
    """The transpose of `windows_of`."""
    dx = np.zeros(padded_shape, np.float32)
    _, _, kh, kw, rows, across = columns.shape
    for i in range(kh):
        for j in range(kw):
            down = slice(i, i + (rows - 1) * stride[0] + 1, stride[0])
            right = slice(j, j + (across - 1) * stride[1] + 1, stride[1])
            dx[:, :, down, right] += columns[:, :, i, j]
    (top, left), (height, width) = padding, padded_shape[2:]
    return dx[:, :, top : height - top, left : width - left]


class Conv2d:
    def __init__(self, node, weights):
        self.node, self.layer = node, node.layer
        self.weight, self.bias = weights
        self.rows = self.weight.reshape(len(self.weight), -1)

    def forward(self, x):
        layer = self.layer
        columns, self.padded = windows_of(x, layer.kernel, layer.stride, layer.padding)
        self.shape = columns.shape
        self.columns = columns.reshape(len(x), self.rows.shape[1], -1)
        y = np.matmul(self.rows, self.columns)
        y += self.bias[:, None]
        return y.reshape(len(x), *self.node.output_shape)

    def backward(self, dy):
        dy = dy.reshape(len(dy), len(self.rows), -1)
        self.gradients = (
            np.matmul(dy, self.columns.transpose(0, 2, 1)).sum(axis=0).reshape(self.weight.shape),
            dy.sum(axis=(0, 2)),
        )
        if not self.node.needs_input_gradient:
            return None
        columns = np.matmul(self.rows.T, dy).reshape(self.shape)
        return added_back(columns, self.padded, self.layer.stride, self.layer.padding)


class BatchNorm:
    def __init__(self, node, weights):
        self.layer = node.layer
        self.weight, self.bias = weights[:2]

    def forward(self, x):
        centred = x - x.mean(axis=(0, 2, 3), keepdims=True)
        variance = np.square(centred).mean(axis=(0, 2, 3), keepdims=True)
        self.inverse = 1 / np.sqrt(variance + np.float32(self.layer.eps))
        centred *= self.inverse
        self.normalised = centred
        return centred * self.weight[:, None, None] + self.bias[:, None, None]

    def backward(self, dy):
        self.gradients = (dy * self.normalised).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))
        scale, shift = (g[:, None, None] / (dy.size // dy.shape[1]) for g in self.gradients)
        dx = dy - shift
        dx -= self.normalised * scale
        dx *= self.weight[:, None, None] * self.inverse
        return dx


class Relu:
    def __init__(self, node, weights):
        self.gradients = ()

    def forward(self, x):
        self.positive = x > 0
        return np.maximum(x, 0)

    def backward(self, dy):
        return dy * self.positive


class MaxPool:
    def __init__(self, node, weights):
        self.layer, self.gradients = node.layer, ()

    def forward(self, x):
        layer = self.layer
        columns, self.padded = windows_of(x, layer.kernel, layer.step, layer.padding, -np.inf)
        n, c, kh, kw, h, w = self.shape = columns.shape
        columns = columns.reshape(n, c, kh * kw, h, w)
        self.winner = columns.argmax(axis=2, keepdims=True)
        return np.take_along_axis(columns, self.winner, 2)[:, :, 0]

    def backward(self, dy):
        n, c, kh, kw, h, w = self.shape
        columns = np.zeros((n, c, kh * kw, h, w), np.float32)
        np.put_along_axis(columns, self.winner, dy[:, :, None], 2)
        return added_back(
            columns.reshape(self.shape), self.padded, self.layer.step, self.layer.padding
        )


class Dropout:
    def __init__(self, node, weights):
        self.rate, self.gradients = np.float32(node.layer.rate), ()
        self.random = np.random.default_rng(0)

    def forward(self, x):
        self.factor = (self.random.random(x.shape, np.float32) >= self.rate) / (1 - self.rate)
        return x * self.factor

    def backward(self, dy):
        return dy * self.factor


class Flatten:
    def __init__(self, node, weights):
        self.gradients = ()

    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy):
        return dy.reshape(self.shape)


class Linear:
    def __init__(self, node, weights):
        self.weight, self.bias = weights

    def forward(self, x):
        self.x = x
        return x @ self.weight.T + self.bias

    def backward(self, dy):
        self.gradients = dy.T @ self.x, dy.sum(axis=0)
        return dy @ self.weight


class Network:
    """A chain of these layers with cross-entropy and plain SGD."""

    def __init__(self, workload, weights):
        self.layers = [
            globals()[type(node.layer).__name__](
                node, [weights[p.name].copy() for p in node.parameters]
            )
            for node in workload.nodes
        ]

    def train_step(self, x, labels, rate):
        for layer in self.layers:
            x = layer.forward(x)
        exponentials = np.exp(x - x.max(axis=1, keepdims=True))
        dy = exponentials / exponentials.sum(axis=1, keepdims=True)
        chosen = np.arange(len(x)), labels
        loss = -np.log(dy[chosen]).mean()
        dy[chosen] -= 1
        dy /= np.float32(len(x))
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
            if dy is None:
                break
        for layer in self.layers:
            if layer.gradients:
                layer.weight -= rate * layer.gradients[0]
                layer.bias -= rate * layer.gradients[1]
        return loss
