"""score_pairs and encode_texts: results are in the order of the input for any batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import student_config

from flipkd.student import scoring
from flipkd.student.limits import BatchLimits
from flipkd.student.scoring import _batches, encode_texts, score_pairs


@pytest.mark.parametrize("window", [3, 4096])
def test_batches_contain_every_row_once(monkeypatch, window):
    monkeypatch.setattr(scoring, "WINDOW", window)
    lengths = [5, 1, 9, 3, 3, 8, 2]
    batches = [batch for found in _batches(7, BatchLimits(2, 99), lambda rows: lengths[rows]) for batch in found]
    assert sorted(row for batch in batches for row in batch) == list(range(7))
    if window == 4096:
        assert [lengths[row] for batch in batches for row in batch] == sorted(lengths, reverse=True)
    assert list(_batches(0, BatchLimits(2, 99), lambda rows: lengths[rows])) == []


def test_score_pairs_does_not_depend_on_the_window(make_student, monkeypatch):
    student, _ = make_student()
    left = ["my card", "pin", "where is my transfer", "a", "fee today"]
    right = ["b", "my card was stolen", "c", "please close my account", "d"]
    expected, vectors = score_pairs(student, left, right, return_embeddings=True), encode_texts(student, left)
    monkeypatch.setattr(scoring, "WINDOW", 2)
    scores = score_pairs(student, left, right, return_embeddings=True, batch_size=1)
    np.testing.assert_allclose(scores.answer, expected.answer, atol=1e-5)
    np.testing.assert_allclose(scores.cosine, expected.cosine, atol=1e-5)
    np.testing.assert_allclose(encode_texts(student, left), vectors, atol=1e-5)
    assert score_pairs(student, left, right).cosine is None


def test_score_pairs_of_a_hybrid_model_uses_no_prefix_cache(tmp_path, tokenizer):
    """A hybrid of convolutions and attention has more state after a prefix than keys and values."""
    from transformers import Lfm2Config, Lfm2ForCausalLM

    from flipkd.student.loading import new_student

    shape = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    layers = {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}
    torch.manual_seed(0)
    Lfm2ForCausalLM(Lfm2Config(vocab_size=len(tokenizer), initializer_range=0.15, **shape, **layers)).save_pretrained(
        tmp_path
    )
    tokenizer.save_pretrained(tmp_path)
    student, _ = new_student(student_config(tmp_path, reading="separate", lora_r=2))
    assert not student.supports_prefix_cache
    assert not student.can_cache_head
    left, right = ["my card", "where is my transfer"], ["my card was stolen", "pin"]
    both = score_pairs(student, left, right, return_embeddings=True)
    for row in range(2):
        alone = score_pairs(student, left[row : row + 1], right[row : row + 1], return_embeddings=True)
        assert both.answer[row] == pytest.approx(alone.answer[0], abs=1e-4)
        assert both.cosine[row] == pytest.approx(alone.cosine[0], abs=1e-4)


def test_score_pairs_and_encode_texts_of_no_input(make_student):
    student, _ = make_student()
    scores = score_pairs(student, [], [], return_embeddings=True)
    assert scores.answer.shape == scores.cosine.shape == (0,)
    assert encode_texts(student, []).shape == (0, 12)


def test_score_pairs_refuses_sides_of_unequal_length(make_student):
    with pytest.raises(ValueError):
        score_pairs(make_student()[0], ["a"], ["b", "c"])


def test_score_pairs_turns_off_training_mode(make_student):
    student, _ = make_student(readout_r=4, lora_dropout=0.9)
    student.train()
    first = score_pairs(student, ["my card"], ["my pin"]).answer
    assert not student.training
    assert score_pairs(student, ["my card"], ["my pin"]).answer.tolist() == first.tolist()
