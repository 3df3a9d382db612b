"""Rows as tensors: padding on the right, packed rows, attention masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flipkd.student.prompt import Prompt, Template
from flipkd.student.rows import (
    INSTRUCTION,
    PADDING,
    QUESTION,
    Row,
    additive_mask,
    blocked_mask,
    last_positions,
    pack,
    pad,
)


@pytest.fixture
def rows(tokenizer):
    prompt = Prompt(tokenizer, Template(), max_text_length=16)
    return prompt.pair_rows(["card", "my card was stolen yesterday"], ["pin", "please close my account"])


def test_pad_adds_padding_on_the_right(rows):
    batch = pad(rows, padding_id=7)
    assert batch["segment"][:, 0].tolist() == [INSTRUCTION, INSTRUCTION]
    short = min(range(2), key=lambda i: len(rows[i]))
    length = len(rows[short])
    assert batch["input_ids"][short, :length].tolist() == rows[short].ids
    assert (batch["input_ids"][short, length:] == 7).all()
    assert (batch["segment"][short, length:] == PADDING).all()
    assert batch["segment"][short, length - 1] == QUESTION
    assert last_positions(batch["segment"]).tolist() == [len(row) - 1 for row in rows]


def test_pad_continues_the_positions_in_the_padding(rows):
    batch = pad(rows, padding_id=0)
    assert (batch["position_ids"].diff(dim=1) == 1).all(), (
        "to transformers a decrease would look like a second sequence"
    )


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_pack_equals_pad_without_padding(lengths):
    random = np.random.default_rng(sum(lengths))
    rows = [Row(*(random.integers(1, 7, n).tolist() for _ in range(2)), list(range(n))) for n in lengths]
    padded, packed = pad(rows, padding_id=0), pack(rows)
    assert packed["input_ids"].shape == packed["position_ids"].shape == (1, sum(lengths))
    assert torch.equal(packed["segment"], padded["segment"])
    for name in ("input_ids", "position_ids"):
        assert torch.equal(padded[name].view(-1)[packed["scatter"]], packed[name][0])
        repadded = packed[name][0][packed["gather"]].view(padded[name].shape)
        assert torch.equal(repadded[padded["segment"] > 0], padded[name][padded["segment"] > 0])


def test_blocked_mask_in_closed_form():
    mask = blocked_mask(torch.tensor([[1, 2, 3, 4, 5, 6, 0]]))[0, 0]
    expected = [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 0, 0, 1, 0, 0, 0],
        [1, 0, 0, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1, 1],
    ]
    assert mask.int().tolist() == expected
    numbers = additive_mask(mask, torch.bfloat16)
    assert torch.equal(numbers == 0, mask)
    assert numbers.min() == torch.finfo(torch.bfloat16).min
