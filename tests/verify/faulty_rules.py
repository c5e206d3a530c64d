"""The losses and optimizers of the faulty backend (`faulty.py`), and how they can be wrong."""

import math

import torch
from torch.nn import functional as F

from dlbench.spec.training import (
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    CrossEntropy,
    RMSprop,
    Sgd,
)


class Rules:
    """Loss and update; `self.state` holds the optimizer's moments by kind and parameter."""

    def loss(self, output, targets):
        if not isinstance(self.workload.loss, CrossEntropy):
            squares = (output - targets).square()
            if self.fault == "squared error summed over features":
                return squares.sum() / len(output)
            if self.fault == "half of the squared error":
                return squares.mean() / 2
            if self.fault == "absolute error":
                return (output - targets).abs().mean()
            return squares.mean()
        rows = torch.arange(len(output))
        if self.fault == "softmax before the loss":
            output = torch.softmax(output, 1)
        if self.fault == "softmax without subtracting the maximum":
            powers = torch.exp(output)
            return -torch.log(powers / powers.sum(1, keepdim=True))[rows, targets].mean()
        if self.fault == "probabilities clipped at 1e-7":
            shares = torch.softmax(output, 1).clamp(1e-7, 1 - 1e-7)
            return -torch.log(shares)[rows, targets].mean()
        logs, smoothed = torch.log_softmax(output, 1), self.workload.loss.label_smoothing
        losses = -logs[rows, targets]
        if smoothed:
            rest = logs.mean(1)
            if self.fault == "labels smoothed over K − 1":
                rest = (logs.sum(1) + losses) / (output.shape[1] - 1)
            if self.fault == "labels smoothed over all but not less of the own":
                return (losses - smoothed * rest).mean()
            if self.fault == "labels are not smoothed":
                return losses.mean()
            losses = (1 - smoothed) * losses - smoothed * rest
        if self.fault == "loss summed":
            return losses.sum()
        if self.fault == "loss in base 2":
            return losses.mean() / math.log(2)
        if self.fault == "loss averaged over classes too":
            return losses.mean() / output.shape[1]
        if self.fault == "labels smoothed by 1 %":
            return F.cross_entropy(output, targets, label_smoothing=0.01)
        if self.fault == "loss without the last sample" and len(losses) > 1:
            return losses[:-1].mean()
        return losses.mean()

    def clip(self, gradients):
        """All gradients, by the rule's norm."""
        most = self.rule.clip_norm
        if most is None or self.fault == "gradients are not clipped":
            return gradients
        squares = {name: float(g.square().sum()) for name, g in gradients.items()}
        if self.fault == "each gradient clipped by itself":
            shares = {k: min(1.0, most / (math.sqrt(s) + 1e-6)) for k, s in squares.items()}
            return {name: g * shares[name] for name, g in gradients.items()}
        if self.fault == "elements clipped":
            return {name: g.clamp(-most, most) for name, g in gradients.items()}
        norm = math.sqrt(sum(squares.values()))
        if self.fault == "clipped by the largest norm":
            norm = math.sqrt(max(squares.values()))
        if self.fault == "scaled up to the norm too":
            return {name: g * most / norm for name, g in gradients.items()}
        return {name: g * min(1.0, most / (norm + 1e-6)) for name, g in gradients.items()}

    def update(self, parameter, w, g):
        """The weight after a step."""
        rule, rate, decay = self.rule, self.rate, self.rule.decay_of(parameter.name)
        decoupled = isinstance(rule, AdamW)
        if self.fault == "weight decay of AdamW coupled" and decoupled:
            decoupled = False
        if self.fault == "weight decay of Adam decoupled" and isinstance(rule, Adam):
            decoupled = True
        if self.fault == "weight decay of SGD decoupled" and isinstance(rule, Sgd):
            decoupled = True
        if self.fault == "no weight decay":
            decay = 0.0
        if self.fault == "no weight decay on biases" and parameter.role in ("bias", "shift"):
            decay = 0.0
        if self.fault == "biases decay all the same" and parameter.role == "bias":
            decay = rule.weight_decay
        if self.fault == "norms decay all the same" and parameter.role in ("scale", "shift"):
            decay = rule.weight_decay
        if self.fault == "weights do not decay either":
            decay = decay if rule.decay_biases_and_norms else 0.0
        if self.fault == "no weight decay on scales" and parameter.role == "scale":
            decay = 0.0
        if not decoupled:
            g = g + decay * w
        change = rate * self.direction(parameter.name, g)
        if decoupled and self.fault == "decoupled decay without the learning rate":
            return w - change - decay * w
        if decoupled and self.fault == "decoupled decay after the update":
            w = w - change
            return w - rate * decay * w
        if decoupled:
            change = change + rate * decay * w
        return w - change

    def direction(self, name, g):
        match self.rule:
            case Sgd():
                return self.sgd(name, g)
            case Adagrad():
                return self.adagrad(name, g)
            case RMSprop():
                return self.rmsprop(name, g)
            case Adadelta():
                return self.adadelta(name, g)
        return self.adam(name, g)

    def sgd(self, name, g):
        momentum, nesterov = self.rule.momentum, self.rule.nesterov
        if self.fault == "Nesterov though not asked for":
            nesterov = True
        if self.fault == "Nesterov forgotten":
            nesterov = False
        if self.fault == "momentum forgotten" or not momentum:
            return g
        if self.fault == "momentum forgotten above batch 4" and self.samples > 4:
            return g
        add = g
        if self.fault == "momentum with dampening" and ("velocity", name) in self.state:
            add = (1 - momentum) * g
        if self.fault == "learning rate inside the velocity":
            v = self.moment("velocity", name, momentum, self.rate * g)
            return (self.rate * g + momentum * v if nesterov else v) / self.rate
        if self.fault == "velocity is an average":
            add = (1 - momentum) * g
        v = self.moment("velocity", name, momentum, add)
        return g + momentum * v if nesterov else v

    def adagrad(self, name, g):
        start = torch.zeros_like(g)
        if self.fault == "Adagrad's accumulator starts at 0.1":
            start = start + 0.1
        total = self.moment("sum", name, 1.0, g.square(), start)
        if self.fault == "Adagrad's eps inside the root":
            return g / torch.sqrt(total + self.rule.eps)
        if self.fault == "Adagrad's accumulator decays":
            self.state["sum", name] = 0.9 * total
        if self.fault == "Adagrad's accumulator one step late":
            total = total - g.square() + start
        return g / (torch.sqrt(total) + self.rule.eps)

    def rmsprop(self, name, g):
        rho, eps, momentum = self.rule.rho, self.rule.eps, self.rule.momentum
        start = torch.zeros_like(g)
        if self.fault == "RMSprop's squares start at 1":
            start = start + 1
        if self.fault == "RMSprop's rho exchanged with the rest":
            rho = 1 - rho
        s = self.moment("squares", name, rho, (1 - rho) * g.square(), start)
        if self.fault == "RMSprop centered":
            s = s - self.moment("mean", name, rho, (1 - rho) * g).square()
        if self.fault == "RMSprop corrected for its start":
            s = s / (1 - rho**self.steps)
        step = g / (torch.sqrt(s) + eps)
        if self.fault == "RMSprop's eps inside the root":
            step = g / torch.sqrt(s + eps)
        if not momentum or self.fault == "RMSprop's momentum forgotten":
            return step
        if self.fault == "learning rate inside RMSprop's velocity":
            return self.moment("velocity", name, momentum, self.rate * step) / self.rate
        v = self.moment("velocity", name, momentum, step)
        return step + momentum * v if self.fault == "RMSprop with Nesterov's momentum" else v

    def adadelta(self, name, g):
        rho, eps, inside = self.rule.rho, self.rule.eps, True
        if self.fault == "Adadelta's eps outside the roots":
            inside = False

        def root(value):
            return torch.sqrt(value + eps) if inside else torch.sqrt(value) + eps

        s = self.moment("squares", name, rho, (1 - rho) * g.square())
        u = self.state.get(("changes", name), torch.zeros_like(g))
        if self.fault == "Adadelta's changes are never kept":
            u = torch.zeros_like(g)
        step = root(u) / root(s) * g
        if self.fault == "Adadelta's changes without a root":
            step = (u + eps) / root(s) * g
        change = step
        if self.fault == "learning rate inside Adadelta's changes":
            change = self.rate * step
        self.moment("changes", name, rho, (1 - rho) * change.square())
        return step

    def adam(self, name, g):
        rule, t = self.rule, self.steps
        beta1, beta2 = rule.beta1, rule.beta2
        if self.fault == "beta2 is 0.99":
            beta2 = 0.99
        if self.fault == "betas exchanged":
            beta1, beta2 = beta2, beta1
        if self.fault == "step count one behind in the bias correction":
            t = max(t - 1, 1)
        m = self.moment("first", name, beta1, (1 - beta1) * g)
        s = self.moment("second", name, beta2, (1 - beta2) * g.square())
        if self.fault == "no bias correction":
            return m / (torch.sqrt(s) + rule.eps)
        m = m / (1 - beta1**t)
        if self.fault == "bias correction of the first moment only":
            return m / (torch.sqrt(s) + rule.eps)
        if self.fault == "Adam's eps before the correction":
            return m / (torch.sqrt(s) + rule.eps) * math.sqrt(1 - beta2**t)
        s = s / (1 - beta2**t)
        if self.fault == "Adam's eps inside the root":
            return m / torch.sqrt(s + rule.eps)
        if self.fault == "Adam's eps is 1e-7":
            return m / (torch.sqrt(s) + 1e-7)
        if self.fault == "AMSGrad":
            s = torch.maximum(s, self.state.get(("most", name), s))
            self.state["most", name] = s
        return m / (torch.sqrt(s) + rule.eps)

    def moment(self, kind, name, keep, add, start=None):
        """The moving sum `kind` of a parameter, after `add` went in."""
        old = self.state.get((kind, name), start)
        new = add if old is None else keep * old + add
        self.state[kind, name] = new
        return new
