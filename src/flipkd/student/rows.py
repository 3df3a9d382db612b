"""Rows of token ids: what each token is, rows padded to tensors, and which token may attend to which.

`segment` tells what a token is, and carries all that masks, spans and positions are made from:
    0 padding   1 instruction   2 left head   3 left text   4 right head   5 right text   6 question
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PADDING, INSTRUCTION, LEFT_HEAD, LEFT_TEXT, RIGHT_HEAD, RIGHT_TEXT, QUESTION = range(7)


@dataclass(frozen=True)
class Row:
    """One sequence before padding: ids, segments and positions of equal length T."""

    ids: list[int]
    segment: list[int]
    position: list[int]

    def __len__(self) -> int:
        return len(self.ids)


def pad(rows: Sequence[Row], *, padding_id: int) -> dict[str, Tensor]:
    """Rows as left-padded tensors input_ids, segment, position_ids [N, T], so that the last position is real in every row."""
    longest = max(len(row) for row in rows)

    def column(values: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([[fill] * (longest - len(value)) + value for value in values], dtype=torch.long)

    return {
        "input_ids": column([row.ids for row in rows], padding_id),
        "segment": column([row.segment for row in rows], PADDING),
        "position_ids": column([row.position for row in rows], 0),
    }


def to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The same batch on another device."""
    return {name: value.to(device) for name, value in batch.items()}


def attention_mask(segment: Tensor, *, blocked: bool, dtype: torch.dtype) -> Tensor:
    """What may attend to what: [N, T] for a causal pass, [N, 1, T, T] (0 or the dtype's minimum) for blocked reading.

    Blocked: the right block (head and text) does not see the left block; the question sees both.
    """
    real = segment != PADDING
    if not blocked:
        return real.long()
    length = segment.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segment.device).tril()
    in_left = (segment == LEFT_HEAD) | (segment == LEFT_TEXT)
    in_right = (segment == RIGHT_HEAD) | (segment == RIGHT_TEXT)
    allowed = causal & real[:, None, :] & ~(in_right[:, :, None] & in_left[:, None, :])
    allowed |= torch.eye(
        length, dtype=torch.bool, device=segment.device
    )  # a padding row with nothing to see gives NaN
    mask = torch.zeros(allowed.shape, dtype=dtype, device=segment.device)
    return mask.masked_fill(~allowed, torch.finfo(dtype).min)[:, None]
