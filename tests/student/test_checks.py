"""What is found out of a student before any work: another way to its logits, blocked reading that does not block."""

from __future__ import annotations

import pytest
import torch

from flipkd.errors import ConfigError
from flipkd.student.checks import check_student
from flipkd.student.language_model import LoraSettings
from flipkd.student.rows import additive_mask


def test_blocked_reading_is_refused_where_it_cannot_work(make_student):
    with pytest.raises(ConfigError, match="sliding window"):
        make_student("gemma3", reading="blocked", max_text_length=300)


def test_a_model_whose_logits_are_made_otherwise_is_refused(make_student, base_model, monkeypatch):
    student, _ = make_student(base_model.name)
    check_student(student)
    answer = student.answer
    monkeypatch.setattr(student, "answer", lambda hidden: answer(hidden) + torch.tensor([0.0, 1.0]))
    with pytest.raises(ConfigError, match="computes its logits otherwise"):
        check_student(student)
    blocked, _ = make_student(base_model.name, reading="blocked")
    monkeypatch.setattr(blocked, "answer", student.answer)
    with pytest.raises(ConfigError, match="computes its logits otherwise"):
        check_student(blocked)


def test_rows_that_the_model_has_no_positions_for_are_refused(make_student):
    with pytest.raises(ConfigError, match=r"rows of up to 6\d\d tokens exceed the model's 512 positions"):
        make_student("llama", max_text_length=300)


def test_blocked_reading_that_leaks_is_refused(make_student, base_model, monkeypatch):
    student, _ = make_student(base_model.name, reading="blocked")
    check_student(student)

    def causal(batch, columns="", **_):
        length = batch[columns + "segment"].shape[1]
        return additive_mask(torch.ones(length, length, dtype=torch.bool).tril()[None, None], torch.float32)

    monkeypatch.setattr(student, "mask", causal)  # that of another reading: the right text sees the left one
    with pytest.raises(ConfigError, match="still sees the left-hand one"):
        check_student(student)


def test_dropout_is_no_leak(make_student):
    lora = LoraSettings(r=4, alpha=8, dropout=0.5, readout_r=12)
    assert make_student("llama", reading="blocked", lora=lora)[1].reading == "blocked"
