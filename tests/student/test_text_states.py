"""Texts read once give the scores of pairs read whole; what was read is used again, and forgotten when there is too much."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flipkd.matcher import Matcher
from flipkd.student.scoring import score_pairs
from flipkd.student.text_states import TextStates, text_states

LEFT = ["my card was lost", "fee", "my card was lost", "where is my transfer today please"]
RIGHT = ["where is the card", "a long question about a fee abroad", "fee", "my card was lost"]


@pytest.fixture
def blocked(make_student, base_model):
    """A student of each family whose LoRA can be seen, with its contract."""
    student, contract = make_student(base_model.name, reading="blocked")
    generator = torch.Generator().manual_seed(1)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return student.eval(), contract


@torch.no_grad()
def whole(student, left, right):
    return student(student.collate(left, right, return_embeddings=True), return_embeddings=True)


def test_pairs_are_read_as_they_are_whole(blocked):
    student, _ = blocked
    expected = whole(student, LEFT, RIGHT)
    states = TextStates(student)
    for _ in range(2):  # from the texts, then from what is kept of them
        found = states.read(LEFT, RIGHT, batch_size=3)
        for part in ("answers", "left", "right"):
            torch.testing.assert_close(getattr(found, part), getattr(expected, part), atol=1e-4, rtol=1e-4)
    assert np.ptp(expected.answers.numpy()) > 0.01


def test_a_text_is_read_once_and_a_pair_costs_its_question(blocked, monkeypatch):
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


def test_too_much_is_forgotten_and_still_right(blocked):
    student, _ = blocked
    states = TextStates(student)
    states.read(LEFT, RIGHT)
    one = max(state.size for state in states._kept.values())
    small = TextStates(student, limit=one)
    found = small.read(LEFT, RIGHT)
    torch.testing.assert_close(found.answers, states.read(LEFT, RIGHT).answers, atol=1e-4, rtol=1e-4)
    assert sum(state.size for state in small._kept.values()) == small._size <= one
    nothing = TextStates(student, limit=0)
    torch.testing.assert_close(nothing.read(LEFT, RIGHT).answers, found.answers, atol=1e-4, rtol=1e-4)
    assert nothing._size == 0


def test_only_blocked_reading_behind_an_instruction_keeps_texts(make_student):
    assert text_states(make_student(reading="joint")[0]) is None
    student, _ = make_student("qwen2", reading="blocked")
    student.prompt.instruction = []  # as an empty instruction and a tokenizer without a first token give
    assert text_states(student) is None
    expected = whole(student, LEFT, RIGHT).answers
    np.testing.assert_allclose(
        score_pairs(student, LEFT, RIGHT).answer, (expected[:, 1] - expected[:, 0]).numpy(), atol=1e-4
    )
