"""The model card of a matcher: what was trained on what, the hub's metadata, and nothing about this machine."""

from __future__ import annotations

import pytest
import yaml
from hub_server import card_errors
from huggingface_hub import ModelCard

from flipkd.cards.matcher_card import LearnedFrom, model_card
from flipkd.student.contract import KeptTeacher

METRICS = {"n": 24.0, "f1": 0.8125, "ece": 0.0312}
ENCODER = {"kind": "bi_encoder", "name": "intfloat/multilingual-e5-small, fine-tuned", "licence": "mit"}


@pytest.fixture
def card_of(contract):
    """`card_of(config, taught_by=None, kept=None, **changes of the contract)` -> metadata and body of a valid card."""

    def make(config, *, taught_by=None, kept=None, **changes) -> tuple[dict, str]:
        learned_from = LearnedFrom(48, 6 if taught_by else 0, taught_by)
        changed = contract.model_copy(update=changes)
        card = model_card(config, changed, metrics=METRICS, learned_from=learned_from, kept=kept)
        assert card_errors(card) == []
        assert ModelCard(card).content == card
        _, head, body = card.split("---\n", 2)
        return yaml.safe_load(head), body

    return make


def test_model_card_has_metadata_and_every_figure_of_the_run(card_of, make_config):
    metadata, body = card_of(make_config(model_name_or_path="Qwen/Qwen2.5-0.5B"))
    assert metadata == {
        "base_model": "Qwen/Qwen2.5-0.5B",
        "base_model_relation": "adapter",
        "library_name": "flipkd",
        "pipeline_tag": "text-ranking",
        "tags": metadata["tags"],
    }
    assert {"text-matching", "lora", "loss:margin_hinge"} <= set(metadata["tags"])
    figures = (
        "0.8125",
        "0.2500",
        "0.0312",
        "24 validation pairs",
        "48 labelled pairs.",
        "model.layers.2.self_attn.q_proj",
    )
    texts = ("logit(' yes') - logit(' no')", "sigmoid(2.5 * score - 0.75), fitted with the method sigmoid")
    sections = (
        "# Text matcher on Qwen/Qwen2.5-0.5B",
        "## Limits",
        "## Versions",
        'pip install "flipkd"',
        "transformers 5",
    )
    assert [part for part in (*figures, *texts, *sections) if part not in body] == []


def test_model_card_of_a_packaged_base_names_the_original_and_its_terms(card_of, make_config):
    gemma = {"model_type": "gemma3_text"}
    metadata, body = card_of(make_config(model_name_or_path="gemma-3-270m"), base_config=gemma)
    assert (metadata["base_model"], metadata["license"]) == ("google/gemma-3-270m", "gemma")
    assert "flipkd reads it as `gemma-3-270m`, from a Python\npackage that stores it in 4 bits" in body
    assert 'pip install "flipkd[demo]"' in body
    assert card_of(make_config(), base_config=gemma)[0]["license"] == "gemma"


def test_model_card_says_what_it_learned_from(card_of, make_config):
    plain, taught, given = (card_of(make_config(), taught_by=one) for one in (None, ENCODER, {"kind": "scores"}))
    assert "from labelled pairs alone; no other model taught it" in plain[1]
    assert "distillation" not in plain[0]["tags"]
    assert ("bibtex" in plain[1], "bibtex" in taught[1]) == (False, True)
    assert "unlabelled" not in plain[1].split("## Training")[1]
    assert (
        "a small encoder that knows the domain (made from intfloat/multilingual-e5-small, fine-tuned, licence mit)"
        in (taught[1])
    )
    assert "distillation" in taught[0]["tags"]
    assert "48 labelled pairs and 6 unlabelled ones, which the teacher scored." in taught[1]
    assert "from labelled pairs and from the scores that the training pairs came with" in given[1]
    kept = KeptTeacher(fingerprint="0" * 64, kind="bi_encoder", max_length=8, prompt="")
    _, body = card_of(make_config(), taught_by=ENCODER, kept=ENCODER, teacher=kept)
    assert "teacher = the cosine of the small encoder in `teacher/`: made from intfloat/multilingual-e5-small" in body
    assert 'pip install "flipkd[train]"' in body


def test_model_card_names_data_sets_of_the_hub(card_of, make_config):
    files = {"train_file": "org/pairs:train", "validation_file": "org/pairs:validation"}
    assert card_of(make_config(**files))[0]["datasets"] == ["org/pairs"]


def test_model_card_shows_no_folder_of_this_machine(card_of, make_config, base_models, tmp_path):
    (tmp_path / "here").mkdir()
    config = make_config(
        model_name_or_path=str(base_models["llama"]),
        init_from=str(tmp_path / "here"),
        train_file=str(tmp_path / "train.csv"),
    )
    metadata, body = card_of(config, taught_by={"kind": "bi_encoder", "name": "bi, fine-tuned", "licence": None})
    assert "base_model" not in metadata
    assert "base_model_relation" not in metadata
    assert "# Text matcher on llama" in body
    assert "started from the adapters of `here`" in body
    assert str(tmp_path.parent) not in body
    assert str(base_models["llama"].parent) not in body


@pytest.mark.parametrize(
    "calibration, said", [(None, "sigmoid(score), without calibration"), ({}, "without calibration")]
)
def test_model_card_of_a_matcher_without_calibration(card_of, make_config, calibration, said):
    assert said in card_of(make_config(), calibration=calibration)[1]
