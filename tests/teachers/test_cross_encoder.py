"""CrossEncoderTeacher: logits, prompts, refused models."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.errors import ArtefactError
from flipkd.teachers.cross_encoder import load_cross_encoder

LEFT, RIGHT = ["loan1 loan2", "card1", "fee3"], ["loan3", "rate2 rate3 rate4", "fee3"]


def test_cross_encoder_scores_are_raw_logits_in_input_order(cross_encoder_folder):
    import torch

    teacher = load_cross_encoder(cross_encoder_folder, device="cpu", batch_size=2)
    with torch.no_grad():
        teacher.model.transformers_model.classifier.bias.fill_(20.0)  # so that a sigmoid would show
    scores = teacher.score(LEFT, RIGHT)
    assert scores.dtype == np.float32
    assert scores.shape == (3,)
    assert (scores > 2).all()
    single = [teacher.score([a], [b])[0] for a, b in zip(LEFT, RIGHT, strict=True)]
    np.testing.assert_allclose(scores, single, atol=1e-5)
    assert len(set(scores.tolist())) == 3
    assert teacher.score([], []).shape == (0,)


def test_describe_records_the_scale(cross_encoder_folder):
    described = load_cross_encoder(cross_encoder_folder, device="cpu", prompt="query: ").describe()
    assert (described["kind"], described["scale"], described["prompt"]) == ("cross_encoder", "logit", "query: ")


def test_load_cross_encoder_applies_a_prompt(cross_encoder_folder):
    plain = load_cross_encoder(cross_encoder_folder, device="cpu")
    prompted = load_cross_encoder(cross_encoder_folder, device="cpu", prompt="query: ")
    assert plain.fingerprint != prompted.fingerprint
    by_hand = plain.score([f"query: {text}" for text in LEFT], RIGHT)
    np.testing.assert_allclose(prompted.score(LEFT, RIGHT), by_hand, atol=1e-6)
    assert np.abs(plain.score(LEFT, RIGHT) - by_hand).max() > 1e-3


def test_load_cross_encoder_refuses_an_encoder_without_a_scoring_head(make_bi_encoder):
    with pytest.raises(ArtefactError, match=r"no trained scoring head.*fine-tune it"):
        load_cross_encoder(make_bi_encoder(), device="cpu")


def test_load_cross_encoder_refuses_more_than_one_label(tmp_path, cross_encoder_folder):
    from transformers import AutoTokenizer, BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(cross_encoder_folder)
    config = model.config
    config.num_labels = 3
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(cross_encoder_folder).save_pretrained(tmp_path)
    with pytest.raises(ArtefactError, match="returns 3 numbers per pair"):
        load_cross_encoder(tmp_path, device="cpu")
