"""Between rows laid end to end and padded rows: index copies whose gradients are index copies too.

A batch is either: `rows.pack` gives `gather`, `scatter` and `last` besides, `rows.pad` does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from flipkd.student.rows import last_positions


class PadRows(torch.autograd.Function):
    """[total, ...] -> [N * T, ...]: token `gather[p]` at each padded place p.

    What stands in the padding is seen by no real token, so its gradient is zero and is not added up: the backward pass
    reads the places of real tokens alone, where autograd's own would add with atomics.
    """

    @staticmethod
    def forward(ctx: Any, packed: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
        """Copy each token to its padded place."""
        ctx.save_for_backward(scatter)
        return packed.index_select(0, gather)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """Read the gradients of the real tokens."""
        (scatter,) = ctx.saved_tensors
        return gradient.index_select(0, scatter), None, None


class UnpadRows(torch.autograd.Function):
    """[N * T, ...] -> [total, ...]: what stands at the padded place `scatter[t]` of each token t."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
        """Read the places of real tokens."""
        ctx.save_for_backward(scatter)
        ctx.places = len(gather)
        return padded.index_select(0, scatter)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """Put the gradients back; padding has none."""
        (scatter,) = ctx.saved_tensors
        whole = gradient.new_zeros(ctx.places, *gradient.shape[1:])
        return whole.index_copy_(0, scatter, gradient), None, None


def pad_rows(packed: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
    """[total, ...] -> [N * T, ...]; gather and scatter as `rows.pack` gives them."""
    padded: Tensor = PadRows.apply(packed, gather, scatter)  # type: ignore[no-untyped-call]
    return padded


def unpad_rows(padded: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
    """[N * T, ...] -> [total, ...]."""
    packed: Tensor = UnpadRows.apply(padded, gather, scatter)  # type: ignore[no-untyped-call]
    return packed


def padder(batch: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor] | None:
    """What pads a layer's inputs [1, total, D] of a packed batch to [N, T, D]; None where the rows are padded already."""
    if "gather" not in batch:
        return None
    rows, length = batch["segment"].shape

    def padded(inputs: Tensor) -> Tensor:
        """[1, total, D] -> [N, T, D]."""
        return pad_rows(inputs[0], batch["gather"], batch["scatter"]).view(rows, length, -1)

    return padded


def last_states(hidden: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """The hidden state [N, D] of each row's last token, from padded rows [N, T, D] or packed ones [1, total, D]."""
    if "last" in batch:
        return hidden[0].index_select(0, batch["last"])
    places = last_positions(batch["segment"])
    return hidden[torch.arange(len(places), device=places.device), places]
