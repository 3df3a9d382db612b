"""Weight averaging: the mean of the trained weights over the last steps of a run replaces them, with less noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

PREFIX = "average."


class WeightAverage:
    """The running mean of the trained weights over the last `share` of the steps, on their device; 0: off.

    Source: stochastic weight averaging (Izmailov et al., UAI 2018, arXiv 1803.05407), without its constant learning rate.
    torch.optim.swa_utils.AveragedModel would copy the base model as well.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._means: dict[str, Tensor] = {}

    def update(self, weights: Mapping[str, Tensor], *, step: int, steps: int) -> None:
        """Include the weights after `step` of `steps`, counted from 1, if it is one of the last; without a copy to the CPU."""
        count = step - (steps - max(round(self.share * steps), 1))
        if count == 1:
            self._means = {name: weight.detach().clone() for name, weight in weights.items()}
        elif count > 1:
            means = list(self._means.values())
            torch._foreach_lerp_(means, [weights[name].detach() for name in self._means], 1 / count)

    @torch.no_grad()
    def apply(self, weights: Mapping[str, Tensor]) -> None:
        """Replace the weights by their means, if there are any, and delete the means."""
        for name, mean in self._means.items():
            weights[name].copy_(mean)
        self._means = {}

    def state(self) -> dict[str, Tensor]:
        """Return the tensors for a checkpoint, so that a resumed run equals an uninterrupted one."""
        return {PREFIX + name: mean for name, mean in self._means.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load the tensors of a checkpoint."""
        self._means = {name.removeprefix(PREFIX): mean for name, mean in state.items()}


class AverageWeights(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Update a module's average after each step, before a checkpoint is saved; all ranks have equal weights and means."""

    def __init__(self, average: WeightAverage, module: nn.Module) -> None:
        self.average, self.weights = average, trained_weights(module)

    def on_step_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Update the average by the weights after this step."""
        self.average.update(self.weights, step=state.global_step, steps=state.max_steps)


def trained_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that require a gradient, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
