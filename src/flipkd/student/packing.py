"""Convert between packed and padded rows by index copies whose gradients are index copies too.

A packed batch (`rows.pack`) has the further tensors `gather`, `scatter` and `last`; a padded batch (`rows.pad`) has not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from flipkd.student.rows import last_positions


class PadRows(torch.autograd.Function):
    """[total, ...] -> [N * T, ...]: token `gather[p]` at each padded position p.

    No real token attends to padding, so the gradient of padding is zero. The backward pass therefore reads only the
    positions of real tokens; autograd's own backward would add with atomics.
    """

    @staticmethod
    def forward(ctx: Any, packed: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
        """Copy each token to its padded position."""
        ctx.save_for_backward(scatter)
        return packed.index_select(0, gather)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """Select the gradients of the real tokens."""
        (scatter,) = ctx.saved_tensors
        return gradient.index_select(0, scatter), None, None


class UnpadRows(torch.autograd.Function):
    """[N * T, ...] -> [total, ...]: the value at padded position `scatter[t]` for each token t."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
        """Select the positions of real tokens."""
        ctx.save_for_backward(scatter)
        ctx.padded_size = len(gather)
        return padded.index_select(0, scatter)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """Copy the gradients to the padded positions; padding gets zeros."""
        (scatter,) = ctx.saved_tensors
        padded = gradient.new_zeros(ctx.padded_size, *gradient.shape[1:])
        return padded.index_copy_(0, scatter, gradient), None, None


def pad_rows(packed: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
    """[total, ...] -> [N * T, ...]; gather and scatter come from `rows.pack`."""
    padded: Tensor = PadRows.apply(packed, gather, scatter)  # type: ignore[no-untyped-call]
    return padded


def unpad_rows(padded: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
    """[N * T, ...] -> [total, ...]."""
    packed: Tensor = UnpadRows.apply(padded, gather, scatter)  # type: ignore[no-untyped-call]
    return packed


def padder(batch: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor] | None:
    """Return a function that pads the inputs [1, total, D] of a layer to [N, T, D]; None for a batch that is padded already."""
    if "gather" not in batch:
        return None
    rows, length = batch["segment"].shape

    def padded(inputs: Tensor) -> Tensor:
        """[1, total, D] -> [N, T, D]."""
        return pad_rows(inputs[0], batch["gather"], batch["scatter"]).view(rows, length, -1)

    return padded


def last_states(hidden: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Select the hidden state [N, D] of each row's last token, from padded rows [N, T, D] or packed ones [1, total, D]."""
    if "last" in batch:
        return hidden[0].index_select(0, batch["last"])
    positions = last_positions(batch["segment"])
    return hidden[torch.arange(len(positions), device=positions.device), positions]
