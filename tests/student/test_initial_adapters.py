"""init_from: a second training starts from the adapters of a first one; adapters that do not fit are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import flipkd, given, student
from tiny import make_table

from flipkd import Matcher
from flipkd.comparison.entries import Entry
from flipkd.comparison.run import Run
from flipkd.comparison.systems import SYSTEMS
from flipkd.config import CompareConfig, TrainConfig
from flipkd.data.pairs import read_pairs
from flipkd.errors import ArtefactError, ConfigError
from flipkd.files import write_manifest
from flipkd.student.initial_adapters import initial_adapters_hash
from flipkd.student.scoring import score_pairs
from flipkd.training.run import fresh_student

LABELS_ALONE = [f"objectives.{name}=0" for name in ("pairwise_pref_kl", "margin_hinge", "in_batch_kl")]


@pytest.fixture
def settings(base_models, pair_files, trained) -> dict:
    """Settings of a run that starts from `trained`, with the same LoRA."""
    files = {name: pair_files[name.removesuffix("_file")] for name in ("train_file", "validation_file")}
    shape = {"dtype": "float32", "max_text_length": 16, "lora_r": 4, "readout_r": 8}
    return files | shape | {"model_name_or_path": str(base_models["llama"]), "init_from": trained}


def test_init_from_gives_the_scores_of_the_first_run(settings, trained, caplog):
    table, matcher = make_table(12, seed=7), Matcher.from_pretrained(trained)
    expected = score_pairs(matcher.student, table.left, table.right, return_embeddings=True)
    for folder in (trained, f"{trained}/matcher"):
        student, _ = fresh_student(TrainConfig.check(settings | {"init_from": folder, "seed": 5}))
        found = score_pairs(student, table.left, table.right, return_embeddings=True)
        np.testing.assert_allclose(found.answer, expected.answer, atol=1e-5)
        np.testing.assert_allclose(found.cosine, expected.cosine, atol=1e-5)
    fresh, _ = fresh_student(TrainConfig.check(settings | {"init_from": None}))
    assert np.abs(score_pairs(fresh, table.left, table.right).answer - expected.answer).max() > 0.1
    assert all(parameter.requires_grad for name, parameter in student.named_parameters() if "lora_" in name)
    assert "was trained with another" not in caplog.text
    fresh_student(TrainConfig.check(settings | {"max_text_length": 12, "reading": "blocked"}))
    assert "was trained with another reading and max_text_length than this run" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"lora_r": 5},
            r"the LoRA of .* has other shapes: \d+ tensors differ, first .*: \[4, 48\] there, \[5, 48\] in this run",
        ),
        ({"readout_r": 12}, "2 tensors differ"),
        ({"lora_layers": [0, -1]}, r"14 tensors differ, first .*layers.1.*: \[\d+, \d+\] there, missing in this run"),
        ({"lora_alpha": 4}, "lora_alpha / lora_r is 8 in .* and 1 in this run"),
    ],
)
def test_init_from_of_fresh_student_refuses_another_lora(settings, changes, message):
    with pytest.raises(ConfigError, match=message) as raised:
        fresh_student(TrainConfig.check(settings | changes))
    assert str(raised.value).startswith("init_from: ")


@pytest.mark.parametrize("other", [{"dtype": "bfloat16"}, "qwen2"])
def test_init_from_of_fresh_student_refuses_another_base_model(settings, base_models, other):
    changes = {"model_name_or_path": str(base_models[other])} if isinstance(other, str) else other
    with pytest.raises(ConfigError, match="give the same base model in the same dtype"):
        fresh_student(TrainConfig.check(settings | changes))


def test_initial_adapters_hash_refuses_incomplete_matchers(trained, tmp_path):
    with pytest.raises(ArtefactError, match="no such folder"):
        initial_adapters_hash(str(tmp_path / "none"))
    with pytest.raises(ArtefactError, match="holds no finished matcher"):
        initial_adapters_hash(str(tmp_path))
    damaged = shutil.copytree(Path(trained) / "matcher", tmp_path / "damaged")
    (damaged / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ArtefactError, match="sha256 mismatch"):
        initial_adapters_hash(str(damaged))


def test_init_from_hash_is_recorded_and_compared(trained, base_models, pair_files, tmp_path):
    first = shutil.copytree(trained, tmp_path / "first")
    words = [
        *given(pair_files),
        *student(base_models["llama"], num_train_epochs=1),
        "--output_dir",
        tmp_path / "second",
    ]
    words += [word for weight in LABELS_ALONE for word in ("--set", weight)]
    done = flipkd("train", *words, "--set", f"init_from={first}")
    assert done.code == 0, done.err
    assert "started from the adapters of `first`" in (tmp_path / "second" / "matcher" / "README.md").read_text()
    recorded = json.loads((tmp_path / "second" / "run.json").read_text())
    assert recorded["data"]["init_from_hash"] == initial_adapters_hash(trained)
    moved = shutil.move(first, tmp_path / "moved")
    done = flipkd("train", *words, "--set", f"init_from={moved}")
    assert done.code == 0, done.err
    (moved / "matcher" / "matcher.json").write_text((moved / "matcher" / "matcher.json").read_text() + " ")
    write_manifest(moved / "matcher")
    for now, change in ((["--set", f"init_from={moved}"], "has other content"), ([], "was given, now None")):
        done = flipkd("train", *words, *now)
        assert done.code == 4
        assert f"data.init_from_hash {change}" in done.err


def test_run_identity_contains_init_from_hash(pair_files, trained, tmp_path):
    files = {f"{name}_file": path for name, path in pair_files.items()}
    sets = {name: read_pairs(path) for name, path in pair_files.items()}
    moved = shutil.copytree(Path(trained) / "matcher", tmp_path / "moved")

    def run(system, init_from):
        config = CompareConfig.check({**files, "output_dir": str(tmp_path), "train": {"init_from": str(init_from)}})
        return Run(config, sets, Entry(system, SYSTEMS[system], {}, config.train), 0)

    assert run("plain", trained).identity() == run("plain", moved).identity()
    assert run("plain", trained).identity()["own_files"] == {"init_from_hash": initial_adapters_hash(trained)}
    assert run("untrained", trained).train_config(None).init_from is None
    assert "own_files" not in run("untrained", trained).identity()
