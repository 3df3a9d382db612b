"""Batches of similar length: every row once, depending on seed and epoch, with less padding; and fast bfloat16."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset

from flipkd.teachers.batching import LengthGroupedBatches, has_fast_bfloat16

LENGTHS = torch.randint(1, 200, (103,), generator=torch.Generator().manual_seed(0)).tolist()
DATA = Dataset.from_dict({"text1": ["a" * n for n in LENGTHS], "text2": ["b"] * 103, "label": [1.0] * 103})


def batches(*, seed=0, epoch=0, drop_last=False):
    sampler = LengthGroupedBatches(DATA, batch_size=8, drop_last=drop_last, seed=seed)
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


def test_length_grouped_batches_have_every_row_once():
    assert sorted(row for batch in batches() for row in batch) == list(range(103))
    assert all(len(batch) == 8 for batch in batches(drop_last=True))
    assert len(batches(drop_last=True)) == 12


def test_length_grouped_batches_depend_on_seed_and_epoch():
    assert batches() == batches()
    assert batches() != batches(seed=1)
    assert batches() != batches(epoch=1)


def test_length_grouped_batches_have_rows_of_similar_length():
    padded = sum(max(LENGTHS[row] for row in batch) * len(batch) for batch in batches())
    assert padded < 1.15 * sum(LENGTHS)


@pytest.mark.parametrize("has", [True, False])
def test_has_fast_bfloat16(monkeypatch, has):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has, "avx2": True})
    assert has_fast_bfloat16() is has
