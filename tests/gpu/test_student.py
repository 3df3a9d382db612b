"""Answers and embeddings of a student: equal to those on the CPU, for any batches, and finite for rows of any length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from devices import each_device, packed_on
from tiny import FAMILY_AND_READING

from flipkd.student.attention import GROUPED
from flipkd.student.limits import GPU_TOKENS, BatchLimits, bytes_per_token
from flipkd.student.scoring import encode_texts, score_pairs

LEFT = ["my card was stolen yesterday", "pin", "where is my transfer", "pin", "please close my account", "fee"]
RIGHT = ["the machine kept my card", "can I change the pin of my card", "fee", "pin", "what is a fee", "my card"]
READINGS = ["joint", "separate", "blocked"]
each_reading = pytest.mark.parametrize("reading", READINGS)


def outputs(student, left=LEFT, right=RIGHT, **settings):
    """(answers, cosines, embeddings) of the functions that a matcher uses."""
    scores = score_pairs(student, left, right, return_embeddings=True, **settings)
    return scores.answer, scores.cosine, encode_texts(student, left, **settings)


def assert_close(found, expected, *, tolerance):
    """Compare with an absolute tolerance of `tolerance` times the largest expected value."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.isfinite(ours).all()
        assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


@each_device
@pytest.mark.parametrize("family, reading", FAMILY_AND_READING)
def test_packed_scores_and_embeddings_equal_those_of_the_cpu(student_on, device, family, reading):
    own = student_on(device, family, reading=reading)
    assert own.padding_free
    assert own.device.type == device
    expected = outputs(student_on("cpu", family, reading=reading, attn_implementation=GROUPED))
    assert np.ptp(expected[0]) > 0.1, "the test needs different scores"
    assert_close(outputs(own), expected, tolerance=1e-3)


@each_device
@pytest.mark.parametrize("family, reading", FAMILY_AND_READING)
def test_student_outputs_in_bfloat16_differ_only_by_rounding(student_on, device, family, reading):
    rounded = student_on("cpu", family, reading=reading, dtype="bfloat16", attn_implementation=GROUPED).float()
    own = student_on(device, family, reading=reading, dtype="bfloat16")
    assert_close(outputs(own), outputs(rounded), tolerance=0.05)


@each_device
@each_reading
def test_score_pairs_does_not_depend_on_batch_size_and_order(student_on, device, reading):
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
def test_student_is_finite_for_long_beside_short_rows(student_on, device, reading, attention):
    """With padding on the left torch's kernels gave NaN on CUDA."""
    chosen = packed_on(device) if attention == "packed" else attention
    student = student_on(
        device, reading=reading, dtype="bfloat16", attn_implementation=chosen, max_text_length=150
    ).train()
    left, right = [" ".join(LEFT * 6), "pin", "fee", "card"], ["pin", "fee", " ".join(RIGHT * 6), "card"]
    for _ in range(3 if device == "cuda" else 1):
        batch = {
            name: value.to(device) for name, value in student.collate(left, right, return_embeddings=True).items()
        }
        output = student(batch)
        (output.answers.square().sum() + (output.left * output.right).sum()).backward()
        assert all(part.isfinite().all() for part in (output.answers, output.left, output.right))
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert_close(outputs(student, left, right), outputs(student, left, right, batch_size=1), tolerance=0.05)


@each_device
def test_batch_limits_fit_into_memory_and_change_no_score(student_on, device, monkeypatch):
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
