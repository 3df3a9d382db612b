"""Compute LoRA layers with the same input tensor (q, k, v; gate, up) together, with one down-projection for all.

The first of these layers that is called computes the outputs of all; the others return theirs. The groups are found in the
first pass without gradients, so no model family needs special code. Calls in another order stay correct but are slower.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class LoraProducts(torch.autograd.Function):
    """x [t, inputs], A [sum of r, inputs], and per layer W [outputs, inputs], b, s B [outputs, r] -> [t, outputs] each.

    y = x W^T + b + (x A^T) (s B)^T with the layer's rows of A; all of one dtype; W and b are frozen.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, down: Tensor, *layers: Tensor | None) -> tuple[Tensor, ...]:
        """Compute one narrow product, then two per layer; the second is added in place to the first."""
        ctx.set_materialize_grads(False)
        weights: Any = layers[0::3]
        ups: Any = layers[2::3]
        inner = x @ down.T
        ctx.save_for_backward(x, inner, down, *weights, *ups)
        outputs = []
        for weight, bias, up, part in zip(weights, layers[1::3], ups, _parts(inner, ups), strict=True):
            output = x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
            outputs.append(output.addmm_(part, up.T))
        return tuple(outputs)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Compute two narrow products for all, three per layer with a used output; gradients of x are summed in place."""
        x, inner, down, *others = ctx.saved_tensors
        weights, ups = others[: len(gradients)], others[len(gradients) :]
        inner_gradient = (
            torch.zeros_like(inner) if any(gradient is None for gradient in gradients) else torch.empty_like(inner)
        )
        to_input: Tensor | None = None
        to_layers: list[Tensor | None] = []
        for gradient, weight, up, part, own in zip(
            gradients, weights, ups, _parts(inner_gradient, ups), _parts(inner, ups), strict=True
        ):
            to_layers += (None, None, None if gradient is None else gradient.T @ own)
            if gradient is not None:
                torch.mm(gradient, up, out=part)
                if ctx.needs_input_grad[0]:
                    to_input = gradient @ weight if to_input is None else to_input.addmm_(gradient, weight)
        if to_input is not None:
            to_input.addmm_(inner_gradient, down)
        return to_input, inner_gradient.T @ x, *to_layers


def _parts(inner: Tensor, ups: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Split `inner` into the columns of each layer."""
    return torch.split(inner, [up.shape[1] for up in ups], dim=1)


class SharedInputLayers:
    """Layers with the same input tensor, or a single layer; during a pass `copies` are A of all, then s B of each."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = list(layers)
        self.copies: tuple[Tensor, ...] | None = None
        self._input: tuple[Any, ...] = ()  # the tensor that outputs were computed from, and its state
        self._outputs: dict[Any, Tensor] = {}  # those that are not returned yet
        for layer in self.layers:
            layer._siblings = self

    def output(self, layer: Any, x: Tensor) -> Tensor:
        """Compute the output of `layer` for x [..., inputs]; the others' outputs are stored until their calls with the same x."""
        # A tensor that was changed in place, or that now needs gradients, counts as another one.
        state = (x, torch.is_grad_enabled(), 0 if x.is_inference() else x._version)
        if layer not in self._outputs or state[1:] != self._input[1:] or x is not self._input[0]:
            self._compute(x)
            self._input = state
        output = self._outputs.pop(layer)
        if not self._outputs:
            self._input = ()
        return output.view(*x.shape[:-1], -1)

    def release(self) -> None:
        """Release the copies and the outputs that were not used."""
        self.copies, self._input, self._outputs = None, (), {}

    def _compute(self, x: Tensor) -> None:
        down, *ups = self.copies or ()
        bases = [layer.base_layer for layer in self.layers]
        weights = [tensor for base, up in zip(bases, ups, strict=True) for tensor in (base.weight, base.bias, up)]
        self._input, self._outputs = (), {}  # release their memory before allocating more
        outputs = LoraProducts.apply(x.reshape(-1, x.shape[-1]), down, *weights)  # type: ignore[no-untyped-call]
        self._outputs = dict(zip(self.layers, outputs, strict=True))


class SharedInputFinder:
    """Find the layers under one parent module that have the same input tensor, until each was called once."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self._pending = set(layers)
        self._groups: list[tuple[weakref.ref[Tensor], list[Any]]] = []
        for layer in layers:
            layer._finder = self

    def record(self, layer: Any, x: Tensor) -> None:
        """Record that `layer` was called with x."""
        if layer in self._pending:
            self._pending.remove(layer)
            group = next((group for tensor, group in self._groups if tensor() is x), None)
            if group is None:
                self._groups.append((weakref.ref(x), [layer]))
            else:
                group.append(layer)

    def groups(self) -> list[list[Any]] | None:
        """Return the layers grouped by input tensor, in the order of calls; None until all were called."""
        if self._pending:
            return None
        for _, group in self._groups:
            for layer in group:
                layer._finder = None
        return [group for _, group in self._groups]
