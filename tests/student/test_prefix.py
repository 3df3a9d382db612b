"""The prefix cache gives the scores of complete rows, and a shared prefix is what the rows have in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import FAMILY_AND_READING

from flipkd.student.prefix import CACHE_SIZE, Prefix, PrefixCache, drop_prefix, shared_prefix
from flipkd.student.rows import LEFT_HEAD, RIGHT_HEAD, Row
from flipkd.student.scoring import score_pairs

LEFT = ["my card was lost", "fee", "my card is here", "where is my transfer today please"]
RIGHT = ["where is the card", "a long question about a fee abroad", "pin", "my card"]


def with_visible_lora(student):
    """Set B to random values; with B = 0 LoRA would have no effect."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return student.eval()


@torch.no_grad()
def forward_without_cache(student, left, right):
    output = student(student.collate(left, right, return_embeddings=True), return_embeddings=True)
    return (output.answers[:, 1] - output.answers[:, 0]).numpy(), (output.left * output.right).sum(1).numpy()


@pytest.mark.parametrize("family, reading", FAMILY_AND_READING)
@pytest.mark.parametrize("left", [LEFT, ["my card was lost"] * 4, ["my card", "my pin", "my fee", "my"]])
def test_prefix_cache_scores_equal_those_of_complete_rows(make_student, family, reading, left):
    student = with_visible_lora(make_student(family, reading=reading)[0])
    answer, cosine = forward_without_cache(student, left, RIGHT)
    scores = score_pairs(student, left, RIGHT, return_embeddings=True, batch_size=4)
    np.testing.assert_allclose(scores.answer, answer, atol=1e-4)
    np.testing.assert_allclose(scores.cosine, cosine, atol=1e-4)
    np.testing.assert_allclose(score_pairs(student, left, RIGHT, batch_size=3).answer, answer, atol=1e-4)
    assert np.ptp(answer) > 0.01


def test_encode_prefix_runs_once_and_includes_the_query(make_student, monkeypatch):
    student = with_visible_lora(make_student()[0])
    read, segments = [], []
    encode_prefix, hidden = student.encode_prefix, student.hidden
    monkeypatch.setattr(student, "encode_prefix", lambda row: read.append(row) or encode_prefix(row))
    monkeypatch.setattr(
        student, "hidden", lambda batch, *a, **k: segments.append(batch["segment"]) or hidden(batch, *a, **k)
    )
    score_pairs(student, [LEFT[0]] * 6, RIGHT + RIGHT[:2], batch_size=2, return_embeddings=True)
    assert len(read) == 1
    assert read[0].segment[-1] == RIGHT_HEAD
    assert all(LEFT_HEAD not in segment for segment in segments[1:])
    read.clear()
    score_pairs(student, LEFT, RIGHT, batch_size=2)
    assert [row.segment[-1] for row in read] == [LEFT_HEAD]


def test_prefix_cache_is_not_used_beyond_the_sliding_window(make_student, monkeypatch):
    student = with_visible_lora(make_student("gemma3")[0])
    expected = score_pairs(student, LEFT, RIGHT).answer
    monkeypatch.setattr(student, "window", lambda: 5)
    monkeypatch.setattr(student, "encode_prefix", lambda row: pytest.fail("a prefix was encoded"))
    np.testing.assert_allclose(score_pairs(student, LEFT, RIGHT).answer, expected, atol=1e-4)


def test_shared_prefix_ends_before_a_different_text(make_student):
    prompt = make_student()[0].prompt
    template = len(prompt.instruction) + len(prompt.left_head)
    same_start = prompt.pair_rows(["my card was lost", "my card is here"], ["a", "b"])
    assert len(shared_prefix(same_start)) == template
    same_left = prompt.pair_rows(["my card"] * 2, ["my pin", "my fee"])
    expected = template + len(prompt.text_ids(["my card"])[0][0]) + len(prompt.right_head)
    assert len(shared_prefix(same_left)) == expected
    equal = prompt.pair_rows(["my card"] * 2, ["my pin"] * 2)
    assert len(shared_prefix(equal)) == expected
    rest = drop_prefix(same_left[0], expected)
    assert rest.ids == same_left[0].ids[expected:]
    assert len(rest.segment) == len(rest.position) == len(rest)


def test_prefix_cache_removes_the_oldest():
    cache, encoded = PrefixCache(), []

    def encode(row):
        encoded.append(row.ids)
        return Prefix(torch.zeros(1), None)

    for number in [*range(CACHE_SIZE + 2), *reversed(range(2, CACHE_SIZE + 2)), 1]:
        cache.encoded(Row([number], [1], [0]), encode)
    assert encoded == [[number] for number in [*range(CACHE_SIZE + 2), 1]]
