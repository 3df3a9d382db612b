"""Adapter configs: those that flipkd writes are accepted; other fields with a value are refused by name."""

from __future__ import annotations

import json

import pytest

from flipkd.errors import ArtefactError, RefusedError
from flipkd.student.adapter import FIELDS, lora_config


@pytest.fixture(scope="module")
def saved(make_student, tmp_path_factory) -> str:
    """Text of an adapter_config.json that a student saved."""
    folder = tmp_path_factory.mktemp("saved")
    student, contract = make_student()
    student.save(folder, contract)
    return (folder / "adapter" / "adapter_config.json").read_text()


@pytest.fixture
def settings(saved, tmp_path):
    """(file, values) of an adapter_config.json that a student saved."""
    file = tmp_path / "adapter_config.json"
    file.write_text(saved)
    return file, json.loads(saved)


def test_lora_config_equals_the_saved_one(settings, make_student):
    file, values = settings
    loaded, expected = lora_config(file), make_student()[0].model.peft_config["default"]
    for name in ("r", "lora_alpha", "lora_dropout", "rank_pattern", "alpha_pattern", "bias", "init_lora_weights"):
        assert getattr(loaded, name) == getattr(expected, name)
    assert set(loaded.target_modules) == set(expected.target_modules)
    assert loaded.base_model_name_or_path is values["base_model_name_or_path"] is None  # its base is a folder
    assert (loaded.peft_type, loaded.task_type) == (expected.peft_type, expected.task_type)


def test_save_adapter_sorts_target_modules(settings):
    assert settings[1]["target_modules"] == sorted(settings[1]["target_modules"])
    assert len(settings[1]["target_modules"]) > 5


def test_save_adapter_names_the_base_model_of_the_hub_and_lora_config_accepts_a_path(make_student, settings, tmp_path):
    """Adapters of earlier versions hold the path of the base model's folder."""
    student, contract = make_student()
    student.save(tmp_path, contract.model_copy(update={"base_model_name_or_path": "gemma-3-270m"}))
    saved = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == "google/gemma-3-270m"
    file, values = settings
    file.write_text(json.dumps(values | {"base_model_name_or_path": "/home/somebody/models/llama"}))
    assert lora_config(file).base_model_name_or_path is None


@pytest.mark.parametrize(
    "name, value",
    [
        ("megatron_config", {"a": 1}),
        ("auto_mapping", {"parent_library": "os"}),
        ("corda_config", {"cache_file": "x.pt"}),
        ("init_lora_weights", "corda"),
        ("layer_replication", [[0, 2]]),
        ("modules_to_save", ["lm_head"]),
        ("use_dora", True),
        ("bias", "all"),
        ("a_field_of_another_peft", 1),
    ],
)
def test_lora_config_refuses_other_fields(settings, name, value):
    file, values = settings
    file.write_text(json.dumps(values | {name: value}))
    with pytest.raises(RefusedError, match=rf"adapter_config\.json: {name} is .*; it must be empty"):
        lora_config(file)
    file.write_text(json.dumps(values | {name: None}))
    lora_config(file)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [None, "x", -1, [1], {"a": "b"}, {"a": -1}, 1e400])
def test_lora_config_names_a_field_of_another_type(settings, name, value):
    file, values = settings
    file.write_text(json.dumps(values | {name: value}))
    with pytest.raises(ArtefactError, match=rf"adapter_config\.json: {name} is .*; it must be "):
        lora_config(file)


def test_lora_config_names_a_missing_field(settings):
    file, values = settings
    for name in FIELDS:
        file.write_text(json.dumps({key: value for key, value in values.items() if key != name}))
        with pytest.raises(ArtefactError, match=f"missing field {name}; it must be"):
            lora_config(file)
    file.write_text("[]")
    with pytest.raises(ArtefactError, match="must hold an object"):
        lora_config(file)
