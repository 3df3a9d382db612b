"""How strongly each objective pulls on the weights: the norm of its own gradient, at steps that are logged."""

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
    """Has the module measure the first batch of each step that is logged; not where steps are replayed as CUDA graphs."""

    def __init__(self, module: DistillationModule) -> None:
        self.module = module

    def on_train_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Say where nothing will be measured."""
        if self.module.graphed is not None:
            logger.warning("log_gradient_norms has no effect where steps run as CUDA graphs")

    def on_step_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Before the batches of a step."""
        logged = (state.global_step + 1) % state.logging_steps == 0
        self.module.measure_gradients = logged and self.module.graphed is None


def gradient_norms(terms: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> Tensor:
    """[K] the norm of each of K terms' gradient with respect to all parameters; no `grad` is touched.

    One pass backward per term; the terms' graph stays for the pass that trains. Of several ranks it is the norm of the
    mean of their gradients, as that which trains is; all must ask at once.
    """
    return torch.stack([torch.linalg.vector_norm(_gradient(term, parameters)) for term in terms])


def _gradient(term: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    found: Sequence[Tensor | None] = [None] * len(parameters)
    if term.requires_grad:
        with torch.autocast(term.device.type, enabled=False):
            found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    whole = [torch.zeros_like(p) if one is None else one for p, one in zip(parameters, found, strict=True)]
    flat = torch.cat([one.detach().flatten().float() for one in whole])
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
    return flat
