"""Cached texts give the scores of complete rows; the cache is used again, and its size is limited."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flipkd.matcher import Matcher
from flipkd.student.scoring import score_pairs
from flipkd.student.text_states import TextStateCache, text_states

LEFT = ["my card was lost", "fee", "my card was lost", "where is my transfer today please"]
RIGHT = ["where is the card", "a long question about a fee abroad", "fee", "my card was lost"]


@pytest.fixture
def blocked(make_student, base_model):
    """A student of each family with B != 0 and blocked reading, with its contract."""
    student, contract = make_student(base_model.name, reading="blocked")
    generator = torch.Generator().manual_seed(1)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return student.eval(), contract


@torch.no_grad()
def forward_without_cache(student, left, right):
    return student(student.collate(left, right, return_embeddings=True), return_embeddings=True)


def test_encode_pairs_equals_complete_rows(blocked):
    student, _ = blocked
    expected = forward_without_cache(student, LEFT, RIGHT)
    states = TextStateCache(student)
    for _ in range(2):  # from the texts, then from the cache
        found = states.encode_pairs(LEFT, RIGHT, batch_size=3)
        for part in ("answers", "left", "right"):
            torch.testing.assert_close(getattr(found, part), getattr(expected, part), atol=1e-4, rtol=1e-4)
    assert np.ptp(expected.answers.numpy()) > 0.01


def test_text_states_encode_each_text_once(blocked, monkeypatch):
    student, contract = blocked
    matcher = Matcher(student, contract)
    tokens, hidden = [], student.hidden
    monkeypatch.setattr(
        student, "hidden", lambda batch, **k: tokens.append(batch["input_ids"].numel()) or hidden(batch, **k)
    )
    first = matcher.rank("my pin", RIGHT)
    tokens.clear()
    assert matcher.rank("my pin", RIGHT) == first
    assert tokens == [len(RIGHT) * len(student.prompt.question)]
    tokens.clear()
    matcher.rank("another query", RIGHT)
    assert len(tokens) == 2, "the new query, then the questions"
    assert tokens[0] < 30


def test_text_state_cache_respects_its_limit(blocked):
    student, _ = blocked
    states = TextStateCache(student)
    states.encode_pairs(LEFT, RIGHT)
    one = max(state.size for state in states._cached.values())
    small = TextStateCache(student, limit=one)
    found = small.encode_pairs(LEFT, RIGHT)
    torch.testing.assert_close(found.answers, states.encode_pairs(LEFT, RIGHT).answers, atol=1e-4, rtol=1e-4)
    assert sum(state.size for state in small._cached.values()) == small._size <= one
    nothing = TextStateCache(student, limit=0)
    torch.testing.assert_close(nothing.encode_pairs(LEFT, RIGHT).answers, found.answers, atol=1e-4, rtol=1e-4)
    assert nothing._size == 0


def test_text_states_need_blocked_reading_and_an_instruction(make_student):
    assert text_states(make_student(reading="joint")[0]) is None
    student, _ = make_student("qwen2", reading="blocked")
    student.prompt.instruction = []  # as with an empty instruction and a tokenizer without a bos token
    assert text_states(student) is None
    expected = forward_without_cache(student, LEFT, RIGHT).answers
    np.testing.assert_allclose(
        score_pairs(student, LEFT, RIGHT).answer, (expected[:, 1] - expected[:, 0]).numpy(), atol=1e-4
    )
