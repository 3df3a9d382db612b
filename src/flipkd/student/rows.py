"""Rows of token ids as tensors, padded on the right or packed, and attention masks.

`segment` is the kind of each token; masks and spans are computed from it:
    0 padding   1 instruction   2 left head   3 left text   4 right head   5 right text   6 question

Padding is on the right. In a causal model a real token then never attends to padding, and a padding token attends to the
real ones before it. With padding on the left the first positions could attend to nothing: for such a query torch's
attention kernels on CUDA return NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LENGTH_STEP, TOKEN_STEP = 32, 512  # lengths and totals are rounded up to multiples, to limit the number of shapes
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
    """Pad rows on the right: input_ids, segment, position_ids [N, T]; positions continue to count in the padding."""
    lengths = np.array([len(row) for row in rows])
    ids, segment, position = _concatenate(rows)
    real = np.arange(lengths.max()) < lengths[:, None]
    # Without a mask transformers treats positions that restart as a second sequence in the same row.
    last = np.array([row.position[-1] for row in rows])
    continued = last[:, None] + np.arange(1, lengths.max() + 1) - lengths[:, None]
    return {
        "input_ids": _fill(ids, real, np.full(real.shape, padding_id)),
        "segment": _fill(segment, real, np.full(real.shape, PADDING)),
        "position_ids": _fill(position, real, continued),
    }


def pack(rows: Sequence[Row], *, padding_id: int = 0, pad_to_buckets: bool = False) -> dict[str, Tensor]:
    """Concatenate rows without padding: input_ids, position_ids [1, total], and index tensors to pad them again.

    segment [N, T] is that of the padded rows; gather [N * T] the token of each padded position (any real one for padding);
    scatter [total] the padded position of each token; last [N] the last token of each row. With `pad_to_buckets` total and
    T are rounded up; the added tokens are in further rows of `segment` that are only padding.
    """
    lengths = np.array([len(row) for row in rows])
    columns = list(_concatenate(rows))
    ends, width, filled = lengths.cumsum(), int(lengths.max()), lengths
    if pad_to_buckets:
        width = -(-width // LENGTH_STEP) * LENGTH_STEP
        total, extra_rows = _round_up(int(ends[-1]), width)
        extra = total - int(ends[-1])
        filled = np.concatenate([lengths, [min(width, max(extra - width * row, 0)) for row in range(extra_rows)]])
        columns = [
            np.concatenate([c, np.full(extra, f)]) for c, f in zip(columns, (padding_id, PADDING, 0), strict=True)
        ]
    ids, segment, position = columns
    occupied = np.arange(width) < filled[:, None]
    starts = filled.cumsum() - filled
    gather = np.minimum(starts[:, None] + np.arange(width), np.maximum(filled.cumsum() - 1, 0)[:, None])
    return {
        "input_ids": torch.from_numpy(ids)[None],
        "position_ids": torch.from_numpy(position)[None],
        "segment": _fill(segment, occupied, np.full(occupied.shape, PADDING)),
        "gather": torch.from_numpy(gather.reshape(-1)),
        "scatter": torch.from_numpy(occupied.reshape(-1).nonzero()[0]),
        "last": torch.from_numpy(ends - 1),
    }


def _round_up(total: int, width: int) -> tuple[int, int]:
    """Round `total` up to one of few sizes; return it and the number of rows of `width` for the added tokens."""
    step = max(TOKEN_STEP, 2 ** (total.bit_length() - 5))  # at most 6 % more, half of that on average
    return -(-total // step) * step, -(-step // width)


def _concatenate(rows: Sequence[Row]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Concatenate the ids, segments and positions of all rows."""
    total = sum(map(len, rows))
    parts = ([row.ids for row in rows], [row.segment for row in rows], [row.position for row in rows])
    ids, segment, position = (np.fromiter(chain.from_iterable(part), np.int64, total) for part in parts)
    return ids, segment, position


def _fill(values: NDArray[np.int64], real: NDArray[np.bool_], fill: NDArray[np.int64]) -> Tensor:
    filled = fill.astype(np.int64)
    filled[real] = values
    return torch.from_numpy(filled)


def last_positions(segment: Tensor) -> Tensor:
    """Return the position [N] of the last real token of each padded row [N, T]; the answer is predicted there."""
    return (segment != PADDING).sum(dim=1) - 1


def to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Move a batch to `device`; a GPU copies from pinned memory, so the host does not wait."""
    if device.type != "cuda":
        return {name: value.to(device) for name, value in batch.items()}
    return {
        name: value if value.is_cuda else value.contiguous().pin_memory().to(device, non_blocking=True)
        for name, value in batch.items()  # an expanded tensor cannot be pinned
    }


def blocked_mask(segment: Tensor) -> Tensor:
    """Return the mask [N, 1, T, T], true where a query may attend to a key: causal, but the right block not to the left one.

    A block is head and text; the question attends to both. Every query attends at least to itself, padding too.
    """
    real = segment != PADDING
    length = segment.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segment.device).tril()
    in_left = (segment == LEFT_HEAD) | (segment == LEFT_TEXT)
    in_right = (segment == RIGHT_HEAD) | (segment == RIGHT_TEXT)
    allowed = causal & real[:, None, :] & ~(in_right[:, :, None] & in_left[:, None, :])
    itself = torch.eye(length, dtype=torch.bool, device=segment.device)
    return (allowed | itself)[:, None]


def additive_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert a bool mask to values that are added to attention scores: 0 where true, else the minimum of `dtype`."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
