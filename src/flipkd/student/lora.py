"""LoRA's products with few kernels and no copies in float32: y = x W^T + b + s (x A^T) B^T.

peft computes them as written: the base product, two narrow products in the adapters' dtype, a scaling and an addition,
each a pass over the output. Here the second narrow product is added to the base product where it is (`addmm`), forwards
as backwards, and the adapters, which train in float32, are scaled and copied to the base's dtype once a pass, all at once.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import layer as peft_layer
from torch import Tensor, nn

NAME = "default"  # of peft's adapter


class LoraProduct(torch.autograd.Function):
    """x [t, inputs], W [outputs, inputs], A [r, inputs], s B [outputs, r], all of one dtype -> [t, outputs]; W is frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor) -> Tensor:
        """Three products; the last one adds to the first."""
        inner = x @ down.T
        ctx.save_for_backward(x, inner, weight, down, up)
        output = x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
        return output.addmm_(inner, up.T)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor]:  # type: ignore[override]
        """Five products, of which one is as wide as the layer on both sides."""
        x, inner, weight, down, up = ctx.saved_tensors
        back = gradient @ up
        to_input = (gradient @ weight).addmm_(back, down) if ctx.needs_input_grad[0] else None
        return to_input, None, None, back.T @ x, gradient.T @ inner


class CopyAdapters(torch.autograd.Function):
    """(dtype, factors, tensors) -> copies of many tensors times a factor each, and their gradients back: one kernel each way."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, factors: list[float], *tensors: Tensor) -> tuple[Tensor, ...]:
        """Each tensor times its factor as `dtype`."""
        ctx.dtypes, ctx.factors = [tensor.dtype for tensor in tensors], factors
        copies = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
        torch._foreach_copy_(copies, list(tensors))
        torch._foreach_mul_(copies, factors)
        return tuple(copies)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:  # type: ignore[override]
        """Each gradient times the factor, in the dtype of its tensor."""
        given = {at: gradient for at, gradient in enumerate(gradients) if gradient is not None}
        whole = [torch.empty_like(gradient, dtype=ctx.dtypes[at]) for at, gradient in given.items()]
        torch._foreach_copy_(whole, list(given.values()))
        torch._foreach_mul_(whole, [ctx.factors[at] for at in given])
        found = dict(zip(given, whole, strict=True))
        return None, None, *(found.get(at) for at in range(len(gradients)))


class FusedLinear(peft_layer.Linear):  # type: ignore[misc]  # peft has no types here
    """peft's LoRA layer over nn.Linear with the product above; whatever that does not cover goes peft's own way."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The layer's output [..., outputs]."""
        copies = self._copies if self._plain(args, kwargs) else None
        if copies is None or x.dtype != self.base_layer.weight.dtype:
            output: Tensor = super().forward(x, *args, **kwargs)
            return output
        base = self.base_layer
        flat = x.reshape(-1, x.shape[-1])
        product: Tensor = LoraProduct.apply(flat, base.weight, base.bias, *copies)  # type: ignore[no-untyped-call]
        return product.view(*x.shape[:-1], -1)

    def _plain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether this call is x W^T + s B A x and nothing else."""
        dropout = self.training and not isinstance(self.lora_dropout[NAME], nn.Identity)
        return not (args or kwargs or self.disable_adapters or self.merged or dropout)


class Adapters:
    """All fused layers of a model, and the copies of A and B that they use in one pass."""

    def __init__(self, model: nn.Module) -> None:
        self.layers = [module for module in model.modules() if isinstance(module, FusedLinear)]

    def copy(self) -> None:
        """Before a pass: give each layer A and s B in the dtype of its base layer; for autograd it is one copy of all."""
        if not self.layers:
            return
        tensors = [w for layer in self.layers for w in (layer.lora_A[NAME].weight, layer.lora_B[NAME].weight)]
        factors = [factor for layer in self.layers for factor in (1.0, float(layer.scaling[NAME]))]
        dtype = self.layers[0].base_layer.weight.dtype
        copies = CopyAdapters.apply(dtype, factors, *tensors)  # type: ignore[no-untyped-call]
        for layer, down, up in zip(self.layers, copies[::2], copies[1::2], strict=True):
            layer._copies = (down, up)

    def forget(self) -> None:
        """Let the copies go: they would be stale after the next step."""
        for layer in self.layers:
            layer._copies = None


def fuse(model: nn.Module) -> None:
    """Turn peft's plain LoRA layers over nn.Linear into fused ones; others (4-bit, Conv1D, variants) stay peft's."""
    module: Any
    for module in model.modules():
        if type(module) is peft_layer.Linear and _fits(module):
            module.__class__ = FusedLinear
            module._copies = None


def _fits(module: Any) -> bool:
    plain = type(module.base_layer) is nn.Linear and not module.fan_in_fan_out and not module.lora_bias[NAME]
    return plain and list(module.lora_A) == [NAME] and not module.lora_variant
