"""The scorer over transformers: mask and positions of blocked reading are those of the student, on either side of padding."""

from __future__ import annotations

import torch

from flipkd.exports.transformers_scorer import blocked_inputs
from flipkd.student.prompt import Prompt, Template
from flipkd.student.rows import blocked_mask, pad


def padded(tokenizer):
    prompt = Prompt(tokenizer, Template(), reading="blocked", max_text_length=16)
    return pad(prompt.pair_rows(["my card", "the fee today", "x"], ["pin", "a", "where is my transfer"]), padding_id=0)


def test_blocked_inputs_are_those_of_the_student(tokenizer):
    batch = padded(tokenizer)
    mask, position = blocked_inputs(batch["segment"], dtype=torch.float32)
    assert torch.equal(mask == 0, blocked_mask(batch["segment"]))
    real = batch["segment"] > 0
    assert torch.equal(position[real], batch["position_ids"][real])


def test_blocked_inputs_of_rows_with_padding_on_the_left_are_shifted(tokenizer):
    batch = padded(tokenizer)
    segment = batch["segment"]
    lengths = (segment > 0).sum(1)
    moved = torch.stack([row.roll(segment.shape[1] - int(n)) for row, n in zip(segment, lengths, strict=True)])
    mask, position = blocked_inputs(moved, dtype=torch.float32)
    assert torch.equal(mask == 0, blocked_mask(moved))
    for row, n in enumerate(lengths.tolist()):
        found = position[row, -n:]
        assert torch.equal(found - found[0], batch["position_ids"][row, :n])
