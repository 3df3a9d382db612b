"""score_pairs and encode_texts: results stand in the order of the input, whatever is batched with what."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flipkd.student import scoring
from flipkd.student.limits import BatchLimits
from flipkd.student.scoring import _batches, encode_texts, score_pairs


@pytest.mark.parametrize("window", [3, 4096])
def test_every_row_is_in_one_batch_whatever_the_window(monkeypatch, window):
    monkeypatch.setattr(scoring, "WINDOW", window)
    lengths = [5, 1, 9, 3, 3, 8, 2]
    batches = [batch for found in _batches(7, BatchLimits(2, 99), lambda rows: lengths[rows]) for batch in found]
    assert sorted(row for batch in batches for row in batch) == list(range(7))
    if window == 4096:
        assert [lengths[row] for batch in batches for row in batch] == sorted(lengths, reverse=True)
    assert list(_batches(0, BatchLimits(2, 99), lambda rows: lengths[rows])) == []


def test_windows_change_no_score(make_student, monkeypatch):
    student, _ = make_student()
    left = ["my card", "pin", "where is my transfer", "a", "fee today"]
    right = ["b", "my card was stolen", "c", "please close my account", "d"]
    whole, vectors = score_pairs(student, left, right, return_embeddings=True), encode_texts(student, left)
    monkeypatch.setattr(scoring, "WINDOW", 2)
    cut = score_pairs(student, left, right, return_embeddings=True, batch_size=1)
    np.testing.assert_allclose(cut.answer, whole.answer, atol=1e-5)
    np.testing.assert_allclose(cut.cosine, whole.cosine, atol=1e-5)
    np.testing.assert_allclose(encode_texts(student, left), vectors, atol=1e-5)
    assert score_pairs(student, left, right).cosine is None


def test_layers_that_keep_more_than_keys_and_values_are_read_whole(tmp_path, tokenizer):
    """A hybrid of convolutions and attention: its state behind a prefix is not in keys and values alone."""
    from transformers import Lfm2Config, Lfm2ForCausalLM

    from flipkd.student.language_model import LoraSettings
    from flipkd.student.loading import new_student
    from flipkd.student.prompt import Template

    shape = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    layers = {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}
    torch.manual_seed(0)
    Lfm2ForCausalLM(Lfm2Config(vocab_size=len(tokenizer), initializer_range=0.15, **shape, **layers)).save_pretrained(
        tmp_path
    )
    tokenizer.save_pretrained(tmp_path)
    student, _ = new_student(
        str(tmp_path),
        template=Template(),
        reading="separate",
        max_text_length=16,
        dtype="float32",
        lora=LoraSettings(r=2),
    )
    assert not student.supports_prefix_cache
    assert not student.head_fits
    left, right = ["my card", "where is my transfer"], ["my card was stolen", "pin"]
    both = score_pairs(student, left, right, return_embeddings=True)
    for row in range(2):
        alone = score_pairs(student, left[row : row + 1], right[row : row + 1], return_embeddings=True)
        assert both.answer[row] == pytest.approx(alone.answer[0], abs=1e-4)
        assert both.cosine[row] == pytest.approx(alone.cosine[0], abs=1e-4)


def test_nothing_in_gives_nothing_out(make_student):
    student, _ = make_student()
    scores = score_pairs(student, [], [], return_embeddings=True)
    assert scores.answer.shape == scores.cosine.shape == (0,)
    assert encode_texts(student, []).shape == (0, 12)


def test_sides_of_unequal_length_are_an_error(make_student):
    with pytest.raises(ValueError):
        score_pairs(make_student()[0], ["a"], ["b", "c"])


def test_scoring_leaves_training_mode_and_dropout(make_student):
    from flipkd.student.language_model import LoraSettings

    student, _ = make_student(lora=LoraSettings(r=4, readout_r=4, dropout=0.9))
    student.train()
    first = score_pairs(student, ["my card"], ["my pin"]).answer
    assert not student.training
    assert score_pairs(student, ["my card"], ["my pin"]).answer.tolist() == first.tolist()
