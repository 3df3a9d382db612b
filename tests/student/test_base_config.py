"""A base model with the same weights and another config is refused; one that was saved again is accepted."""

from __future__ import annotations

import json
import shutil

import pytest
from tiny import student_config

from flipkd.errors import ArtefactError, FlipkdError
from flipkd.files import new_folder, write_manifest
from flipkd.matcher import Matcher
from flipkd.student.golden import golden_pair
from flipkd.student.loading import load_student

THETA = {"rope_theta": 200.0, "rope_type": "default"}
CHANGES = [
    ("llama", {"rope_parameters": THETA}),
    ("llama", {"hidden_act": "relu"}),
    ("llama", {"rms_norm_eps": 0.01}),
    ("llama", {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}),
    ("llama", {"model_type": "mistral"}),
    ("llama", {"final_logit_softcapping": 2.0}),
    ("gemma3", {"sliding_window": 4}),
    ("gemma3", {"query_pre_attn_scalar": 2}),
    ("gemma3", {"hidden_activation": "relu"}),
]


@pytest.fixture(scope="module")
def saved(base_models, tmp_path_factory):
    """Family -> folder of a matcher with a golden pair."""
    from flipkd.student.loading import new_student

    folders = {}
    for family in ("llama", "gemma3"):
        student, contract = new_student(student_config(base_models[family], max_text_length=32))
        folders[family] = tmp_path_factory.mktemp("saved") / family
        with new_folder(folders[family]) as temporary:
            student.save(temporary, contract.model_copy(update={"golden": golden_pair(student)}))
    return folders


def changed_base(folder, target, changes):
    copy = shutil.copytree(folder, target)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | changes))
    return str(copy)


@pytest.mark.scenario("A4")
@pytest.mark.parametrize("family, changes", CHANGES)
def test_require_config_names_the_changed_key(base_models, saved, tmp_path, family, changes):
    base = changed_base(base_models[family], tmp_path / "base", changes)
    with pytest.raises(ArtefactError) as raised:
        load_student(saved[family], base_model=base)
    assert base in str(raised.value)
    assert any(name in str(raised.value) for name in (*changes, "is a mistral"))
    assert "give the base model" in str(raised.value)


@pytest.mark.parametrize("family, changes", CHANGES[:4] + CHANGES[5:])
def test_matcher_golden_pair_detects_a_changed_base_config(base_models, saved, tmp_path, family, changes):
    folder = shutil.copytree(saved[family], tmp_path / "m")
    values = json.loads((folder / "matcher.json").read_text())
    (folder / "matcher.json").write_text(json.dumps(values | {"base_config": None}))
    write_manifest(folder)
    base = changed_base(base_models[family], tmp_path / "base", changes)
    with pytest.raises(ArtefactError, match=r"matcher\.json: the score of the golden pair is"):
        Matcher.from_pretrained(folder, base_model=base)


def test_require_config_ignores_keys_without_effect(base_models, saved, tmp_path):
    harmless = {"use_cache": False, "transformers_version": "4.0.0", "eos_token_id": [1, 2], "architectures": ["X"]}
    load_student(saved["llama"], base_model=changed_base(base_models["llama"], tmp_path / "a", harmless))
    short = shutil.copytree(base_models["llama"], tmp_path / "b")
    config = json.loads((short / "config.json").read_text())
    for default in ("attention_bias", "mlp_bias", "tie_word_embeddings", "hidden_act"):
        assert config.pop(default) in (False, "silu")
    (short / "config.json").write_text(json.dumps(config))  # transformers fills in the same values
    load_student(saved["llama"], base_model=str(short))


@pytest.mark.parametrize(
    "stored", [{}, {"model_type": 3}, {"model_type": "llama"}, {"model_type": "llama", "hidden_size": "x"}]
)
def test_require_config_refuses_an_incomplete_stored_config(saved, tmp_path, stored):
    folder = shutil.copytree(saved["llama"], tmp_path / "m")
    values = json.loads((folder / "matcher.json").read_text())
    (folder / "matcher.json").write_text(json.dumps(values | {"base_config": stored}))
    write_manifest(folder)
    with pytest.raises(FlipkdError, match=r"matcher\.json|m was trained on"):
        load_student(folder)
