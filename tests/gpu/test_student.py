"""Answers and vectors of a student: the CPU's on any device, whatever stands beside a row, and finite for rows of any length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from devices import each_device, packed_on
from tiny import FAMILIES

from flipkd.student.attention import GROUPED
from flipkd.student.limits import GPU_TOKENS, BatchLimits, bytes_per_token
from flipkd.student.scoring import encode_texts, score_pairs

LEFT = ["my card was stolen yesterday", "pin", "where is my transfer", "pin", "please close my account", "fee"]
RIGHT = ["the machine kept my card", "can I change the pin of my card", "fee", "pin", "what is a fee", "my card"]
READINGS = ["joint", "separate", "blocked"]
each_reading = pytest.mark.parametrize("reading", READINGS)


def outputs(student, left=LEFT, right=RIGHT, **settings):
    """(scores of the answers, cosines, vectors) as a matcher gets them."""
    scores = score_pairs(student, left, right, return_embeddings=True, **settings)
    return scores.answer, scores.cosine, encode_texts(student, left, **settings)


def assert_close(found, expected, *, tolerance):
    """Equal to `tolerance` as a share of the largest number."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.isfinite(ours).all()
        assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


@each_device
@each_reading
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_vectors_are_those_of_padded_rows_on_the_cpu(student_on, device, reading, family):
    own = student_on(device, family, reading=reading)
    assert own.padding_free
    assert own.device.type == device
    expected = outputs(student_on("cpu", family, reading=reading, attn_implementation=GROUPED))
    assert np.ptp(expected[0]) > 0.1, "pairs that all score alike would show nothing"
    assert_close(outputs(own), expected, tolerance=1e-3)


@each_device
@each_reading
@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_they_differ_by_rounding_alone(student_on, device, reading, family):
    rounded = student_on("cpu", family, reading=reading, dtype="bfloat16", attn_implementation=GROUPED).float()
    own = student_on(device, family, reading=reading, dtype="bfloat16")
    assert_close(outputs(own), outputs(rounded), tolerance=0.05)


@each_device
@each_reading
def test_batch_size_and_order_change_nothing(student_on, device, reading):
    student = student_on(device, "gemma3", reading=reading)
    expected = outputs(student)
    for size in (1, 4):
        assert_close(outputs(student, batch_size=size), expected, tolerance=1e-4)
    order = [3, 5, 0, 4, 2, 1]
    found = outputs(student, [LEFT[i] for i in order], [RIGHT[i] for i in order])
    assert_close(found, [values[order] for values in expected], tolerance=1e-4)


@each_device
@each_reading
@pytest.mark.parametrize("attention", ["packed", "sdpa"])
def test_long_beside_short_rows_give_finite_answers_and_gradients(student_on, device, reading, attention):
    """Padded on the left torch's kernels gave NaN on CUDA."""
    chosen = packed_on(device) if attention == "packed" else attention
    student = student_on(
        device, reading=reading, dtype="bfloat16", attn_implementation=chosen, max_text_length=150
    ).train()
    left, right = [" ".join(LEFT * 6), "pin", "fee", "card"], ["pin", "fee", " ".join(RIGHT * 6), "card"]
    for _ in range(3):
        batch = {
            name: value.to(device) for name, value in student.collate(left, right, return_embeddings=True).items()
        }
        reading_ = student(batch)
        (reading_.answers.square().sum() + (reading_.left * reading_.right).sum()).backward()
        assert all(part.isfinite().all() for part in (reading_.answers, reading_.left, reading_.right))
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert_close(outputs(student, left, right), outputs(student, left, right, batch_size=1), tolerance=0.05)


@each_device
def test_passes_fit_into_memory_and_small_ones_score_alike(student_on, device, monkeypatch):
    student = student_on(device)
    limits = BatchLimits.of(student, None)
    assert BatchLimits.of(student, 7).rows == 7
    assert limits.rows >= 32
    assert 256 <= limits.tokens <= GPU_TOKENS
    if device == "cuda":
        _, total = torch.cuda.mem_get_info()
        assert limits.tokens * bytes_per_token(student.language_model.config) <= total
        assert limits.rows > 4096, "tokens are the limit, not rows"
    expected = outputs(student)
    monkeypatch.setattr(BatchLimits, "of", classmethod(lambda cls, *_: cls(32, 50)))
    assert_close(outputs(student), expected, tolerance=1e-4)
