"""LoRA layers with few kernels and no float32 copies of inputs: y = x W^T + b + s (x A^T) B^T.

peft runs each operation alone: the base product, two narrow products in the adapters' dtype, a scaling and an addition,
each a pass over the output. Here the second narrow product is added in place to the base product (`addmm`), in the forward
and the backward pass. The adapters train in float32; one kernel per pass scales and copies all of them to the base's dtype.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from peft.tuners.lora import layer as peft_layer
from torch import Tensor, nn

from flipkd.student.shared_lora import SharedInputFinder, SharedInputLayers

NAME = "default"  # peft's name of the adapter


class CopyAdapters(torch.autograd.Function):
    """(dtype, factors, counts, tensors) -> copies of the tensors times their factors; one kernel forward, one backward.

    Each count says how many tensors are concatenated by rows into one copy.
    """

    @staticmethod
    def forward(
        ctx: Any, dtype: torch.dtype, factors: list[float], counts: list[int], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """Multiply each tensor by its factor and cast it to `dtype`."""
        ctx.dtypes, ctx.factors = [tensor.dtype for tensor in tensors], factors
        ctx.rows, remaining = [], iter(tensors)
        copies: list[Tensor] = []
        parts: list[Tensor] = []
        for count in counts:
            joined = list(itertools.islice(remaining, count))
            rows = [len(tensor) for tensor in joined]
            copies.append(joined[0].new_empty((sum(rows), *joined[0].shape[1:]), dtype=dtype))
            parts += torch.split(copies[-1], rows)
            ctx.rows.append(rows)
        torch._foreach_copy_(parts, list(tensors))
        torch._foreach_mul_(parts, factors)
        return tuple(copies)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        """Multiply each gradient by the factor, in the dtype of its tensor."""
        parts = [
            part for gradient, rows in zip(gradients, ctx.rows, strict=True) for part in torch.split(gradient, rows)
        ]
        scaled = [torch.empty_like(part, dtype=dtype) for part, dtype in zip(parts, ctx.dtypes, strict=True)]
        torch._foreach_copy_(scaled, parts)
        torch._foreach_mul_(scaled, ctx.factors)
        return None, None, None, *scaled


class FusedLinear(peft_layer.Linear):  # type: ignore[misc]  # peft has no types here
    """peft's LoRA layer over nn.Linear, computed with its siblings; unsupported calls use peft's own forward."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the layer's output [..., outputs]."""
        fused = self._siblings is not None and self._siblings.copies is not None and self._is_plain_call(args, kwargs)
        if not fused or x.dtype != self.base_layer.weight.dtype:
            output: Tensor = super().forward(x, *args, **kwargs)
        else:
            if self._finder is not None and not torch.is_grad_enabled():
                self._finder.record(self, x)
            output = self._siblings.output(self, x)
        return output

    def _is_plain_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Return true if this call is x W^T + s B A x and nothing else."""
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
        self._finders = [SharedInputFinder(layers) for layers in found.values() if len(layers) > 1]

    def copy(self) -> None:
        """Copy A and s B of each layer to the dtype of its base layer, before a pass; autograd sees one operation."""
        if not self.layers:
            return
        self.release()
        self._group()
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

    def release(self) -> None:
        """Release the copies: the next optimizer step makes them stale."""
        for siblings in self._siblings:
            siblings.release()

    def _group(self) -> None:
        """Make siblings of the layers that had the same input tensor; used from the next pass on.

        Only passes without gradients are recorded: layers that activation checkpointing recomputes must not change.
        """
        complete = {finder: groups for finder in self._finders if (groups := finder.groups()) is not None}
        if complete:
            self._finders = [finder for finder in self._finders if finder not in complete]
            for group in itertools.chain(*complete.values()):
                SharedInputLayers(group)
            self._siblings = list(dict.fromkeys(layer._siblings for layer in self.layers))


def fuse(model: nn.Module) -> None:
    """Change peft's plain LoRA layers over nn.Linear to FusedLinear; others (4-bit, Conv1D, variants) stay unchanged."""
    module: Any
    for module in model.modules():
        if type(module) is peft_layer.Linear and _can_fuse(module):
            module.__class__ = FusedLinear
            module._siblings = module._finder = None


def _can_fuse(module: Any) -> bool:
    plain = type(module.base_layer) is nn.Linear and not module.fan_in_fan_out and not module.lora_bias[NAME]
    return plain and list(module.lora_A) == [NAME] and not module.lora_variant
