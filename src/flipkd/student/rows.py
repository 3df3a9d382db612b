"""Rows of token ids as tensors: padded on the right or laid end to end, and which token may attend to which.

`segment` tells what a token is, and carries all that masks, spans and positions are made from:
    0 padding   1 instruction   2 left head   3 left text   4 right head   5 right text   6 question

Padding stands on the right. A causal model then never lets a real token see padding, and a padding token sees the real
ones before it. With padding on the left the first positions could see nothing at all: for such a query row torch's
attention kernels on CUDA give NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LENGTH_STEP, TOKEN_STEP = 32, 512  # to which lengths and totals are rounded up where shapes should be few
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
    """Rows as right-padded tensors input_ids, segment, position_ids [N, T]; positions go on counting in the padding."""
    lengths = np.array([len(row) for row in rows])
    ids, segment, position = _columns(rows)
    real = np.arange(lengths.max()) < lengths[:, None]
    # Without a mask transformers takes positions that start anew for a second sequence in the same row.
    last = np.array([row.position[-1] for row in rows])
    counting = last[:, None] + np.arange(1, lengths.max() + 1) - lengths[:, None]
    return {
        "input_ids": _filled(ids, real, np.full(real.shape, padding_id)),
        "segment": _filled(segment, real, np.full(real.shape, PADDING)),
        "position_ids": _filled(position, real, counting),
    }


def pack(rows: Sequence[Row], *, padding_id: int = 0, pad_to_buckets: bool = False) -> dict[str, Tensor]:
    """Rows laid end to end: input_ids, position_ids [1, total]; and where each token goes when rows are padded again.

    segment [N, T] is that of the padded rows; gather [N * T] the token of each padded place (some real one for padding),
    scatter [total] the padded place of each token, last [N] the last token of each row. With `pad_to_buckets` total and T are
    rounded up, and the tokens that this adds stand in further rows of `segment` that are padding throughout.
    """
    lengths = np.array([len(row) for row in rows])
    columns = list(_columns(rows))
    ends, width, filled = lengths.cumsum(), int(lengths.max()), lengths
    if pad_to_buckets:
        width = -(-width // LENGTH_STEP) * LENGTH_STEP
        total, extra_rows = _rounded(int(ends[-1]), width)
        rest = total - int(ends[-1])
        filled = np.concatenate([lengths, [min(width, max(rest - width * row, 0)) for row in range(extra_rows)]])
        columns = [
            np.concatenate([c, np.full(rest, f)]) for c, f in zip(columns, (padding_id, PADDING, 0), strict=True)
        ]
    ids, segment, position = columns
    there = np.arange(width) < filled[:, None]
    starts = filled.cumsum() - filled
    gather = np.minimum(starts[:, None] + np.arange(width), np.maximum(filled.cumsum() - 1, 0)[:, None])
    return {
        "input_ids": torch.from_numpy(ids)[None],
        "position_ids": torch.from_numpy(position)[None],
        "segment": _filled(segment, there, np.full(there.shape, PADDING)),
        "gather": torch.from_numpy(gather.reshape(-1)),
        "scatter": torch.from_numpy(there.reshape(-1).nonzero()[0]),
        "last": torch.from_numpy(ends - 1),
    }


def _rounded(total: int, width: int) -> tuple[int, int]:
    """A number of tokens a little above `total`, of few that there are, and how many rows of `width` hold what it adds."""
    step = max(TOKEN_STEP, 2 ** (total.bit_length() - 5))  # at most 6 % more, half of that on average
    return -(-total // step) * step, -(-step // width)


def _columns(rows: Sequence[Row]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """ids, segments and positions of all rows one after the other."""
    total = sum(map(len, rows))
    parts = ([row.ids for row in rows], [row.segment for row in rows], [row.position for row in rows])
    ids, segment, position = (np.fromiter(chain.from_iterable(part), np.int64, total) for part in parts)
    return ids, segment, position


def _filled(values: NDArray[np.int64], real: NDArray[np.bool_], fill: NDArray[np.int64]) -> Tensor:
    whole = fill.astype(np.int64)
    whole[real] = values
    return torch.from_numpy(whole)


def last_positions(segment: Tensor) -> Tensor:
    """[N] the place of the last real token of each padded row [N, T]: where the answer is."""
    return (segment != PADDING).sum(dim=1) - 1


def to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The same batch on another device; to a GPU it goes through pinned memory, so that the host does not wait."""
    if device.type != "cuda":
        return {name: value.to(device) for name, value in batch.items()}
    return {
        name: value if value.is_cuda else value.pin_memory().to(device, non_blocking=True)
        for name, value in batch.items()
    }


def blocked_mask(segment: Tensor) -> Tensor:
    """[N, 1, T, T] bool, true where a query may see a key: causal, but the right block does not see the left one.

    A block is head and text; the question sees both. Every query sees at least itself, padding too.
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
    """A bool mask as numbers to add to attention scores: 0 where true, else the smallest of `dtype`."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
