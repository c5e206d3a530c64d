"""The oracle's rival: the same networks through PyTorch's functions and autograd, in float64."""

import torch
import torch_windows
from torch.nn import functional as F

from dlbench.spec import layers as spec
from dlbench.spec.training import CrossEntropy


def forward_backward(workload, weights, inputs, targets):
    """Output, loss, gradients and running statistics of a training step, as NumPy arrays."""
    leaves = {p.name: torch.tensor(weights[p.name]) for p in workload.parameters}
    trained = [p.name for p in workload.parameters if p.trainable]
    for name in trained:
        leaves[name].requires_grad_()
    output = sequence(workload.nodes, leaves, torch.tensor(inputs), True)
    y = torch.tensor(targets)
    squared = not isinstance(workload.loss, CrossEntropy)
    loss = F.mse_loss(output, y) if squared else cross_entropy(workload, output, y)
    loss.backward()
    gradients = {name: leaves[name].grad.numpy() for name in trained}
    moved = [p.name for p in workload.parameters if not (p.trainable or p.frozen)]
    state = {name: leaves[name].numpy() for name in moved}
    return output.detach().numpy(), loss.item(), gradients, state


def cross_entropy(workload, output, labels):
    """With the labels smoothed as the workload has them."""
    return F.cross_entropy(output, labels, label_smoothing=workload.loss.label_smoothing)


def infer(workload, weights, inputs):
    """The output in inference mode."""
    leaves = {name: torch.tensor(value) for name, value in weights.items()}
    return sequence(workload.nodes, leaves, torch.tensor(inputs), False).numpy()


def sequence(nodes, weights, x, training):
    """The output of `nodes`; batch norm moves its running statistics in place."""
    for node in nodes:
        w = {p.role: weights[p.name] for p in node.parameters}
        x = _apply(node, node.layer, x, w, weights, training)
    return x


def _apply(node, layer, x, w, weights, training):
    match layer:
        case spec.Conv2d():
            return torch_windows.conv2d(layer, x, w["weight"], w.get("bias"))
        case spec.ConvTranspose2d():
            sizes = layer.stride, layer.padding, layer.output_padding
            return F.conv_transpose2d(x, w["weight"], w.get("bias"), *sizes)
        case spec.GroupNorm():
            return F.group_norm(x, layer.groups, w["scale"], w["shift"], layer.eps)
        case spec.LayerNorm():
            last = x.movedim(1, -1)
            y = F.layer_norm(last, last.shape[-1:], w["scale"], w["shift"], layer.eps)
            return y.movedim(-1, 1)
        case spec.LocalResponseNorm():
            return F.local_response_norm(x, layer.size, layer.alpha, layer.beta, layer.k)
        case spec.Linear():
            return F.linear(x, w["weight"], w.get("bias"))
        case spec.BatchNorm():
            running = w["running_mean"], w["running_variance"]
            scale, shift = w["scale"], w["shift"]
            by_batch = training and not layer.freeze
            return F.batch_norm(x, *running, scale, shift, by_batch, layer.momentum, layer.eps)
        case spec.Relu():
            return F.relu(x)
        case spec.LeakyRelu():
            return F.leaky_relu(x, layer.slope)
        case spec.Sigmoid():
            return torch.sigmoid(x)
        case spec.Tanh():
            return torch.tanh(x)
        case spec.Relu6():
            return F.relu6(x)
        case spec.Silu():
            return F.silu(x)
        case spec.HardSigmoid():
            # PyTorch's own has a sixth in float32 in its derivative
            return F.relu6(x + 3) / 6
        case spec.HardSwish():
            return F.hardswish(x)
        case spec.Gelu():
            return F.gelu(x, approximate=layer.approximate)
        case spec.MaxPool():
            return torch_windows.max_pool(node, x)
        case spec.AvgPool():
            return torch_windows.avg_pool(node, x)
        case spec.GlobalAvgPool():
            return x.mean((2, 3))
        case spec.AdaptiveAvgPool():
            return F.adaptive_avg_pool2d(x, layer.output)
        case spec.Scale():
            gate = sequence(node.body, weights, x, training)
            return x * gate.reshape(*gate.shape[:2], *[1] * (x.ndim - 2))
        case spec.Flatten():
            return x.flatten(1)
        case spec.Dropout():
            return x
        case spec.OptionA():
            down, across = layer.stride
            return F.pad(x[:, :, ::down, ::across], (0, 0, 0, 0, 0, layer.extra_channels))
        case spec.Residual():
            body = sequence(node.body, weights, x, training)
            return body + sequence(node.shortcut, weights, x, training)
        case spec.Concat():
            return torch_windows.concat(node, lambda b, x: sequence(b, weights, x, training), x)
    raise AssertionError(f"no rival for {layer}")
