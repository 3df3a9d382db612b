"""LoRA's products with few kernels and no copies in float32: y = x W^T + b + s (x A^T) B^T.

peft computes them as written: the base product, two narrow products in the adapters' dtype, a scaling and an addition,
each a pass over the output. Here the second narrow product is added to the base product where it is (`addmm`), forwards
as backwards, and the adapters, which train in float32, are copied to the base's dtype once a pass, all in one kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import layer as peft_layer
from torch import Tensor, nn

NAME = "default"  # of peft's adapter


class LoraProduct(torch.autograd.Function):
    """x [t, inputs], W [outputs, inputs], A [r, inputs], B [outputs, r], all of one dtype -> [t, outputs]; W is frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        """Three products; the last one adds to the first."""
        inner = x @ down.T
        ctx.save_for_backward(x, inner, weight, down, up)
        ctx.scaling = scaling
        output = x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
        return output.addmm_(inner, up.T, alpha=scaling)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:  # type: ignore[override]
        """Five products, of which two are as wide as the layer."""
        x, inner, weight, down, up = ctx.saved_tensors
        back = (gradient @ up).mul_(ctx.scaling)
        to_input = torch.addmm(gradient @ weight, back, down) if ctx.needs_input_grad[0] else None
        return to_input, None, None, back.T @ x, (gradient.T @ inner).mul_(ctx.scaling), None


class CopyAdapters(torch.autograd.Function):
    """Copies of many tensors in another dtype, and their gradients back in the tensors' own: one kernel each way."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Each tensor as `dtype`."""
        ctx.dtypes = [tensor.dtype for tensor in tensors]
        copies = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
        torch._foreach_copy_(copies, list(tensors))
        return tuple(copies)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Each gradient in the dtype of its tensor."""
        given = [gradient for gradient in gradients if gradient is not None]
        dtypes = [dtype for dtype, gradient in zip(ctx.dtypes, gradients, strict=True) if gradient is not None]
        whole = [torch.empty_like(gradient, dtype=dtype) for gradient, dtype in zip(given, dtypes, strict=True)]
        torch._foreach_copy_(whole, given)
        found = iter(whole)
        return None, *(None if gradient is None else next(found) for gradient in gradients)


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
        product: Tensor = LoraProduct.apply(flat, base.weight, base.bias, *copies, self.scaling[NAME])  # type: ignore[no-untyped-call]
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
        """Before a pass: give each layer A and B in the dtype of its base layer, so that autograd sees one copy of all."""
        if not self.layers:
            return
        tensors = [w for layer in self.layers for w in (layer.lora_A[NAME].weight, layer.lora_B[NAME].weight)]
        dtype = self.layers[0].base_layer.weight.dtype
        copies = tensors
        if tensors[0].dtype != dtype:
            copies = CopyAdapters.apply(dtype, *tensors)  # type: ignore[no-untyped-call]
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
