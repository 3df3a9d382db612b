"""Rows as tensors: padding on the left, and who may attend to whom."""

from __future__ import annotations

import torch

from flipkd.student.prompt import Prompt, Template
from flipkd.student.rows import INSTRUCTION, PADDING, QUESTION, attention_mask, pad


def test_padding_is_on_the_left(tokenizer):
    prompt = Prompt(tokenizer, Template(), max_text_length=16)
    rows = prompt.pair_rows(["card", "my card was stolen yesterday"], ["pin", "please close my account"])
    batch = pad(rows, padding_id=0)
    assert batch["segment"][:, -1].tolist() == [QUESTION, QUESTION]
    short = min(range(2), key=lambda i: len(rows[i]))
    missing = batch["segment"].shape[1] - len(rows[short])
    assert (batch["segment"][short, :missing] == PADDING).all()
    assert batch["segment"][short, missing] == INSTRUCTION


def test_blocked_mask_says_who_sees_whom():
    segment = torch.tensor([[0, 1, 2, 3, 4, 5, 6]])
    mask = attention_mask(segment, blocked=True, dtype=torch.float32)[0, 0] == 0
    expected = [
        [1, 0, 0, 0, 0, 0, 0],  # padding sees itself only, so that no row is empty
        [0, 1, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0],
        [0, 1, 0, 0, 1, 0, 0],
        [0, 1, 0, 0, 1, 1, 0],
        [0, 1, 1, 1, 1, 1, 1],
    ]
    assert mask.int().tolist() == expected
