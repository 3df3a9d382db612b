"""The norm of the gradient of each objective, at the steps that are logged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import TrainerCallback

if TYPE_CHECKING:
    from flipkd.training.module import DistillationModule

logger = logging.getLogger(__name__)


class GradientNorms(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Make the module measure the first batch of each logged step; without effect with CUDA graphs."""

    def __init__(self, module: DistillationModule) -> None:
        self.module = module

    def on_train_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Warn when nothing will be measured."""
        if self.module.graphed is not None:
            logger.warning("log_gradient_norms has no effect where steps run as CUDA graphs")

    def on_step_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Request the measurement if this step will be logged."""
        logged = (state.global_step + 1) % state.logging_steps == 0
        self.module.measure_gradients = logged and self.module.graphed is None


def gradient_norms(terms: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return [K] the norm of the gradient of each of K terms with respect to all parameters; no `grad` is changed.

    It takes one backward pass per term and keeps the graph for the training pass. With several ranks it is the norm of
    the mean of their gradients, like the gradient that trains; all ranks must call it together.
    """
    return torch.stack([torch.linalg.vector_norm(_gradient(term, parameters)) for term in terms])


def _gradient(term: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    found: Sequence[Tensor | None] = [None] * len(parameters)
    if term.requires_grad:
        with torch.autocast(term.device.type, enabled=False):
            found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    gradients = [torch.zeros_like(p) if one is None else one for p, one in zip(parameters, found, strict=True)]
    flat = torch.cat([gradient.detach().flatten().float() for gradient in gradients])
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
    return flat
