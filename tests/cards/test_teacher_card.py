"""The model card of a teacher: the hub's metadata, how to load it, its figures, and nothing about this machine."""

from __future__ import annotations

import pytest
from hub_server import card_errors
from huggingface_hub import ModelCard

from flipkd.cards.teacher_card import teacher_card
from flipkd.config import TeachConfig

METRICS = {"n": 48.0, "average_precision": 0.875}
SUMMARY = {"train": METRICS, "validation": METRICS | {"average_precision": 0.8125}, "teacher": {"prompt": "q: "}}


def card_of(**settings) -> ModelCard:
    config = TeachConfig.check({"train_file": "train.csv", "validation_file": "validation.csv"} | settings)
    card = ModelCard(teacher_card(config, SUMMARY))
    assert card_errors(card.content) == []
    return card


def test_teacher_card_of_a_packaged_bi_encoder():
    card = card_of(teacher_name_or_path="all-MiniLM-L6-v2")
    assert card.data.to_dict() == {
        "license": "apache-2.0",
        "library_name": "sentence-transformers",
        "base_model": "sentence-transformers/all-MiniLM-L6-v2",
        "base_model_relation": "finetune",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "bi-encoder", "text-matching"],
    }
    expected = (
        "48 labelled pairs: loss cosent",
        "prompt 'q: '",
        "| average_precision | 0.8750 | 0.8125 |",
        "| n | 48 | 48 |",
    )
    assert [part for part in (*expected, "SentenceTransformer(") if part not in card.text] == []


def test_teacher_card_of_a_cross_encoder_from_a_folder(tmp_path):
    (tmp_path / "cross").mkdir()
    card = card_of(
        teacher_name_or_path=str(tmp_path / "cross"), teacher_type="cross_encoder", train_file="org/pairs:train"
    )
    assert (card.data.pipeline_tag, card.data.base_model, card.data.datasets) == ("text-ranking", None, ["org/pairs"])
    assert "CrossEncoder(" in card.text
    assert "binary cross-entropy" in card.text
    assert str(tmp_path) not in card.content


@pytest.mark.parametrize("kind", ["bi_encoder", "cross_encoder"])
def test_teacher_card_of_an_ensemble_says_how_to_load_it(kind):
    card = card_of(members=3, teacher_type=kind)
    assert f'load_teacher("path/to/this/folder/model", kind="{kind}")' in card.text
    assert "It consists of 3 models" in card.text
    assert "import SentenceTransformer" not in card.text
