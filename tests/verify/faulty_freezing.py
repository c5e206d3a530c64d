"""What the faulty backend (`faulty.py`) makes of frozen layers, and the ways in which it can be wrong."""

from dlbench.spec.network import walk


class Freezing:
    """Frozen layers stay as they are; `self.arrays` holds all parameters and running statistics."""

    def frozen(self):
        """The parameters that are not to move, running statistics left out."""
        frozen = (p for p in self.workload.parameters if p.frozen)
        return [p for p in frozen if not p.role.startswith("running")]

    def with_gradients(self, trained):
        """The parameters that gradients are computed of."""
        counted = self.fault == "clipping counts frozen gradients" or self.trains_frozen
        return [*trained, *self.frozen()] if counted else trained

    @property
    def trains_frozen(self):
        return self.fault == "frozen layers are trained"

    def moving(self, trained):
        """The parameters that take the optimizer's step."""
        if self.trains_frozen:
            return [*trained, *self.frozen()]
        behind = next((p.name for p in trained if self.frozen()), "")
        if self.fault == "the first trained layer stands still":
            return [p for p in trained if p.name != behind]
        return trained

    def by_batch(self, node, training):
        """Whether a batch norm normalises by its batch, and whether its running statistics move."""
        if self.fault == "a frozen norm uses its batch" and node.frozen:
            return training, False
        if self.fault == "frozen running statistics move" and node.frozen:
            return False, training
        return (training and not node.frozen,) * 2

    def disturb_frozen(self):
        """What a step does to frozen layers besides."""
        for p in self.frozen():
            if self.fault == "frozen layers decay":
                self.arrays[p.name] = self.arrays[p.name] * (1 - self.rate * self.rule.weight_decay)
            if self.fault == "frozen layers drift after the fortieth step" and self.steps_ever > 40:
                self.arrays[p.name] = self.arrays[p.name] * (1 + 2**-22)
        if self.fault == "every bias moves with its layer frozen":
            for node in (n for n in walk(self.workload.nodes) if n.frozen):
                name = f"{node.name}.bias"
                if name in self.arrays:
                    self.arrays[name] = self.arrays[name] - self.rate * 1e-3
