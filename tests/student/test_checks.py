"""Checks of a new student: other logits, rows that are too long, blocked reading that leaks."""

from __future__ import annotations

import shutil

import pytest
import torch
from tiny import student_config
from transformers import AutoModelForCausalLM, AutoTokenizer

from flipkd.errors import ConfigError
from flipkd.student.checks import check_student
from flipkd.student.loading import new_student
from flipkd.student.rows import additive_mask


def test_check_student_refuses_blocked_rows_beyond_the_sliding_window(make_student):
    with pytest.raises(ConfigError, match="sliding window"):
        make_student("gemma3", reading="blocked", max_text_length=300)


def test_check_student_refuses_other_logits(make_student, base_model, monkeypatch):
    student, _ = make_student(base_model.name)
    check_student(student)
    answer = student.answer
    monkeypatch.setattr(student, "answer", lambda hidden: answer(hidden) + torch.tensor([0.0, 1.0]))
    with pytest.raises(ConfigError, match="its logits are not the product of its LM head"):
        check_student(student)
    blocked, _ = make_student(base_model.name, reading="blocked")
    monkeypatch.setattr(blocked, "answer", student.answer)
    with pytest.raises(ConfigError, match="its logits are not the product of its LM head"):
        check_student(blocked)


def test_check_student_refuses_rows_longer_than_the_positions(make_student):
    with pytest.raises(ConfigError, match=r"rows of up to 6\d\d tokens exceed the model's 512 positions"):
        make_student("llama", max_text_length=300)


def test_check_student_refuses_blocked_reading_that_leaks(make_student, base_model, monkeypatch):
    student, _ = make_student(base_model.name, reading="blocked")
    check_student(student)

    def causal(batch, **_):
        length = batch["segment"].shape[1]
        return additive_mask(torch.ones(length, length, dtype=torch.bool).tril()[None, None], torch.float32)

    monkeypatch.setattr(student, "mask", causal)  # the mask of joint reading: the right text attends to the left one
    with pytest.raises(ConfigError, match="still attends to the left one"):
        check_student(student)


def test_check_student_ignores_dropout(make_student):
    assert make_student("llama", reading="blocked", lora_dropout=0.5)[1].reading == "blocked"


def test_new_student_refuses_a_pad_token_that_was_added_to_the_tokenizer_alone(base_models, tmp_path):
    folder = shutil.copytree(base_models["llama"], tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(folder)
    rows = model.get_input_embeddings().num_embeddings
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<extra_{i}>" for i in range(rows - len(tokenizer))])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    with pytest.raises(ConfigError, match=rf"pad token '\[PAD\]' .* has id {rows}, .* only for ids below {rows}; set"):
        new_student(student_config(folder))
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    new_student(student_config(folder))
