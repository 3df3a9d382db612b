"""LoRA's products of several layers that read the same tensor (q, k, v; gate, up): one down-projection for all of them.

The first of them to be called computes the outputs of all, and the others take theirs. Which layers these are is seen in
the first pass without gradients, so no family needs to be known; other calls later on are right too, only slower.
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
        """One narrow product, then two per layer, of which the second adds to the first."""
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
        """Two narrow products for all, three per layer whose output was used; gradients of x add up where they are."""
        x, inner, down, *others = ctx.saved_tensors
        weights, ups = others[: len(gradients)], others[len(gradients) :]
        back = torch.zeros_like(inner) if any(one is None for one in gradients) else torch.empty_like(inner)
        to_input: Tensor | None = None
        to_layers: list[Tensor | None] = []
        for gradient, weight, up, part, own in zip(
            gradients, weights, ups, _parts(back, ups), _parts(inner, ups), strict=True
        ):
            to_layers += (None, None, None if gradient is None else gradient.T @ own)
            if gradient is not None:
                torch.mm(gradient, up, out=part)
                if ctx.needs_input_grad[0]:
                    to_input = gradient @ weight if to_input is None else to_input.addmm_(gradient, weight)
        if to_input is not None:
            to_input.addmm_(back, down)
        return to_input, back.T @ x, *to_layers


def _parts(inner: Tensor, ups: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The columns of each layer."""
    return torch.split(inner, [up.shape[1] for up in ups], dim=1)


class SharedInputLayers:
    """Layers that read the same tensor, or a single one; `copies` are A of all, then s B of each, during a pass."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = list(layers)
        self.copies: tuple[Tensor, ...] | None = None
        self._read: tuple[Any, ...] = ()  # the tensor that outputs were computed from, and its state
        self._outputs: dict[Any, Tensor] = {}  # those that are not taken yet
        for layer in self.layers:
            layer._siblings = self

    def output(self, layer: Any, x: Tensor) -> Tensor:
        """What `layer` makes of x [..., inputs]; the others' outputs wait until they are called with the same x."""
        # A tensor that was changed in place since, or that now needs gradients, is another one.
        state = (x, torch.is_grad_enabled(), 0 if x.is_inference() else x._version)
        if layer not in self._outputs or state[1:] != self._read[1:] or x is not self._read[0]:
            self._compute(x)
            self._read = state
        output = self._outputs.pop(layer)
        if not self._outputs:
            self._read = ()
        return output.view(*x.shape[:-1], -1)

    def forget(self) -> None:
        """Let copies and outputs that nobody took go."""
        self.copies, self._read, self._outputs = None, (), {}

    def _compute(self, x: Tensor) -> None:
        down, *ups = self.copies or ()
        bases = [layer.base_layer for layer in self.layers]
        rest = [one for base, up in zip(bases, ups, strict=True) for one in (base.weight, base.bias, up)]
        self._read, self._outputs = (), {}  # before others take their memory
        outputs = LoraProducts.apply(x.reshape(-1, x.shape[-1]), down, *rest)  # type: ignore[no-untyped-call]
        self._outputs = dict(zip(self.layers, outputs, strict=True))


class SharedInputFinder:
    """Sees which of the layers under one parent read the same tensor, until each was called once."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self._awaited = set(layers)
        self._groups: list[tuple[weakref.ref[Tensor], list[Any]]] = []
        for layer in layers:
            layer._watch = self

    def see(self, layer: Any, x: Tensor) -> None:
        """`layer` reads x."""
        if layer in self._awaited:
            self._awaited.remove(layer)
            group = next((group for read, group in self._groups if read() is x), None)
            if group is None:
                self._groups.append((weakref.ref(x), [layer]))
            else:
                group.append(layer)

    def groups(self) -> list[list[Any]] | None:
        """The layers by what they read, in the order of calls; None until all were called."""
        if self._awaited:
            return None
        for _, group in self._groups:
            for layer in group:
                layer._watch = None
        return [group for _, group in self._groups]
