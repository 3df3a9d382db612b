"""LoRA's products with few kernels and no copies in float32: y = x W^T + b + s (x A^T) B^T.

peft computes them as written: the base product, two narrow products in the adapters' dtype, a scaling and an addition,
each a pass over the output. Here the second narrow product is added to the base product where it is (`addmm`), forwards
as backwards, and the adapters, which train in float32, are scaled and copied to the base's dtype once a pass, all at once.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from peft.tuners.lora import layer as peft_layer
from torch import Tensor, nn

from flipkd.student.shared_lora import SharedInputFinder, SharedInputLayers

NAME = "default"  # of peft's adapter


class CopyAdapters(torch.autograd.Function):
    """(dtype, factors, counts, tensors) -> copies of tensors times a factor each, and their gradients back: one kernel each way.

    Each copy joins the rows of as many tensors as its count says.
    """

    @staticmethod
    def forward(
        ctx: Any, dtype: torch.dtype, factors: list[float], counts: list[int], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """Each tensor times its factor as `dtype`."""
        ctx.dtypes, ctx.factors = [tensor.dtype for tensor in tensors], factors
        ctx.rows, given = [], iter(tensors)
        copies: list[Tensor] = []
        parts: list[Tensor] = []
        for count in counts:
            joined = list(itertools.islice(given, count))
            rows = [len(tensor) for tensor in joined]
            copies.append(joined[0].new_empty((sum(rows), *joined[0].shape[1:]), dtype=dtype))
            parts += torch.split(copies[-1], rows)
            ctx.rows.append(rows)
        torch._foreach_copy_(parts, list(tensors))
        torch._foreach_mul_(parts, factors)
        return tuple(copies)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        """Each gradient times the factor, in the dtype of its tensor."""
        parts = [
            part for gradient, rows in zip(gradients, ctx.rows, strict=True) for part in torch.split(gradient, rows)
        ]
        whole = [torch.empty_like(part, dtype=dtype) for part, dtype in zip(parts, ctx.dtypes, strict=True)]
        torch._foreach_copy_(whole, parts)
        torch._foreach_mul_(whole, ctx.factors)
        return None, None, None, *whole


class FusedLinear(peft_layer.Linear):  # type: ignore[misc]  # peft has no types here
    """peft's LoRA layer over nn.Linear, computed with its siblings; whatever that does not cover goes peft's own way."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The layer's output [..., outputs]."""
        ready = self._siblings is not None and self._siblings.copies is not None and self._plain(args, kwargs)
        if not ready or x.dtype != self.base_layer.weight.dtype:
            output: Tensor = super().forward(x, *args, **kwargs)
        else:
            if self._watch is not None and not torch.is_grad_enabled():
                self._watch.see(self, x)
            output = self._siblings.output(self, x)
        return output

    def _plain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether this call is x W^T + s B A x and nothing else."""
        dropout = self.training and not isinstance(self.lora_dropout[NAME], nn.Identity)
        return not (args or kwargs or self.disable_adapters or self.merged or dropout)


class Adapters:
    """All fused layers of a model, and the copies of A and B that they use in one pass."""

    def __init__(self, model: nn.Module) -> None:
        found: dict[Any, list[FusedLinear]] = {}
        for name, module in model.named_modules():
            if isinstance(module, FusedLinear):
                kind = name.rpartition(".")[0], module.in_features, module.base_layer.weight.dtype
                found.setdefault(kind, []).append(module)
        self.layers = [layer for layers in found.values() for layer in layers]
        self._siblings = [SharedInputLayers([layer]) for layer in self.layers]
        self._watched = [SharedInputFinder(layers) for layers in found.values() if len(layers) > 1]

    def copy(self) -> None:
        """Before a pass: give each layer A and s B in the dtype of its base layer; for autograd it is one copy of all."""
        if not self.layers:
            return
        self.forget()
        self._join()
        tensors: list[Tensor] = []
        factors: list[float] = []
        counts: list[int] = []
        for siblings in self._siblings:
            tensors += [layer.lora_A[NAME].weight for layer in siblings.layers]
            tensors += [layer.lora_B[NAME].weight for layer in siblings.layers]
            factors += [1.0] * len(siblings.layers) + [float(layer.scaling[NAME]) for layer in siblings.layers]
            counts += [len(siblings.layers)] + [1] * len(siblings.layers)
        dtype = self.layers[0].base_layer.weight.dtype
        copies = iter(CopyAdapters.apply(dtype, factors, counts, *tensors))  # type: ignore[no-untyped-call]
        for siblings in self._siblings:
            siblings.copies = tuple(itertools.islice(copies, 1 + len(siblings.layers)))

    def forget(self) -> None:
        """Let the copies go: they would be stale after the next step."""
        for siblings in self._siblings:
            siblings.forget()

    def _join(self) -> None:
        """Layers that were seen to read the same tensor become siblings, from the next pass on.

        Only passes without gradients are looked at: layers that are computed again on the way back must stay as they were.
        """
        seen = {watch: groups for watch in self._watched if (groups := watch.groups()) is not None}
        if seen:
            self._watched = [watch for watch in self._watched if watch not in seen]
            for group in itertools.chain(*seen.values()):
                SharedInputLayers(group)
            self._siblings = list(dict.fromkeys(layer._siblings for layer in self.layers))


def fuse(model: nn.Module) -> None:
    """Turn peft's plain LoRA layers over nn.Linear into fused ones; others (4-bit, Conv1D, variants) stay peft's."""
    module: Any
    for module in model.modules():
        if type(module) is peft_layer.Linear and _fits(module):
            module.__class__ = FusedLinear
            module._siblings = module._watch = None


def _fits(module: Any) -> bool:
    plain = type(module.base_layer) is nn.Linear and not module.fan_in_fan_out and not module.lora_bias[NAME]
    return plain and list(module.lora_A) == [NAME] and not module.lora_variant
