"""train: pre-flight check, and changes that a resumed run allows."""

from __future__ import annotations

import json
import platform
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import flipkd, given, student

from flipkd.commands.teach import teach
from flipkd.commands.train import train
from flipkd.config import TeachConfig, TrainConfig
from flipkd.errors import DataError


def test_train_writes_preflight_and_warns(trained):
    report = json.loads((Path(trained) / "preflight.json").read_text())
    assert {"teacher", "student", "warnings"} <= set(report)
    assert "too few labelled validation pairs" in report["warnings"][0]


def test_train_resumes_with_moved_files_but_not_changed_ones(trained, base_models, pair_files, taught, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    moved = {name: str(shutil.copy(path, tmp_path / f"moved-{name}.csv")) for name, path in pair_files.items()}
    arguments = (*given(moved), *student(base_models["llama"]), "--teacher", taught, "--output_dir", run)
    done = flipkd("train", *arguments, "--set", "save_steps=7")
    assert done.code == 0, done.err
    assert done.out.endswith(f"\nmatcher: {run}/matcher\n")
    with open(moved["validation"], "a", encoding="utf-8") as handle:
        handle.write("one row,more,1,0.5\n")
    done = flipkd("train", *arguments)
    assert done.code == 4
    assert "data.validation has other content" in done.err
    assert "data.train" not in done.err


def test_train_resumes_with_a_moved_teacher(trained, base_models, pair_files, taught, tmp_path, monkeypatch):
    run = shutil.copytree(trained, tmp_path / "run")
    shutil.copytree(taught, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    arguments = (*given(pair_files), *student(base_models["llama"]), "--output_dir", run)
    done = flipkd("train", *arguments, "--teacher", "./moved")
    assert done.code == 0, done.err
    assert done.out.endswith(f"\nmatcher: {run}/matcher\n")


def test_train_with_teacher_reuses_the_folder_of_a_run_that_did_not_start(base_models, pair_files, taught, tmp_path):
    arguments = (*given(pair_files), "--teacher", taught, "--output_dir", tmp_path / "run")
    for wrong in (
        "lr_scheduler_type=cosin",
        "training_arguments.eval_strategy=epoch",
        "training_arguments.output_dir=x",
    ):
        done = flipkd("train", *arguments, *student(base_models["llama"], num_train_epochs=1), "--set", wrong)
        assert done.code == 4, done.err
        assert "training arguments" in done.err or f"{wrong.partition('=')[0]} cannot be set" in done.err
        assert "bug in flipkd" not in done.err
    done = flipkd("train", *arguments, *student(base_models["llama"], num_train_epochs=1))
    assert done.code == 0, done.err


@pytest.mark.slow
def test_train_with_mined_pairs_needs_a_bi_encoder(base_models, pair_files, taught, tmp_path, encoders):
    arguments = (*given(pair_files), *student(base_models["llama"]), "--set", "mined_ratio=0.5")
    done = flipkd("train", *arguments, "--teacher", taught, "--output_dir", tmp_path / "run")
    assert done.code == 0, done.err
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(step["step"] for step in steps) == 2 * 5  # epochs of 48 + 24 pairs, 16 a step
    crossed = tmp_path / "crossed"
    words_of_teacher = ("--teacher_name_or_path", encoders / "cross", "--set", "teacher_type=cross_encoder")
    done = flipkd("teach", *given(pair_files), *words_of_teacher, "--output_dir", crossed)
    assert done.code == 0, done.err
    arguments += ("--set", "objectives.in_batch_kl=0", "--teacher", crossed)
    done = flipkd("train", *arguments, "--output_dir", tmp_path / "other")
    assert done.code == 4
    assert "mined_ratio needs the embeddings of a bi-encoder" in done.err


def test_train_mines_nothing_without_a_teacher_objective(base_models, pair_files, taught, tmp_path):
    weights = [f"objectives.{name}=0" for name in ("pairwise_pref_kl", "margin_hinge", "in_batch_kl")]
    arguments = [argument for weight in weights for argument in ("--set", weight)]
    done = flipkd(
        *("train", *given(pair_files), *student(base_models["llama"]), *arguments),
        *("--teacher", taught, "--output_dir", tmp_path / "run"),
    )
    assert done.code == 0, done.err
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 2 * 3  # epochs of 48 pairs, 16 a step


def test_train_weighs_pairs_by_trust_in_the_teacher(base_models, pair_files, taught, tmp_path, monkeypatch):
    tables = []

    def stop(*given, table, **more):
        tables.append(table)
        raise DataError("enough seen")

    monkeypatch.setattr("flipkd.training.run.train", stop)
    arguments = (*given(pair_files), *student(base_models["llama"]), "--teacher", taught)
    for weights in ("equal", "trust"):
        done = flipkd("train", *arguments, "--output_dir", tmp_path / weights, "--pair_weights", weights)
        assert "enough seen" in done.err
    equal, trust = tables
    assert equal.weight is None
    assert len(trust.weight) == len(trust)
    assert 0 < trust.weight.min() < trust.weight.max() <= 1
    without = (*given(pair_files), *student(base_models["llama"]), "--output_dir", tmp_path / "none")
    done = flipkd("train", *without, "--objectives", "{answer_cross_entropy: 1}", "--pair_weights", "trust")
    assert done.code == 4
    assert "pair_weights=trust needs a teacher" in done.err


def test_train_without_bitsandbytes_does_not_claim_the_folder(base_models, pair_files, taught, tmp_path, monkeypatch):
    monkeypatch.setattr("flipkd.student.quantization.PACKAGE", "no_such_package_of_ours")
    arguments = (
        *given(pair_files),
        *student(base_models["llama"]),
        "--teacher",
        taught,
        "--output_dir",
        tmp_path / "run",
    )
    done = flipkd("train", *arguments, "--set", "load_in_4bit=true")
    assert done.code == 4
    assert 'pip install "flipkd[bnb]"' in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.scenario("N7")
def test_train_resumes_with_other_threads_only_with_resume_elsewhere(
    base_models, pair_files, taught, trained, tmp_path
):
    folder = shutil.copytree(trained, tmp_path / "run")
    identity = json.loads((folder / "run.json").read_text())
    identity["environment"] |= {"threads": 77, "machine": "abacus"}
    identity["config"]["model_name_or_path"] = "the folder of the same model before it was moved"
    (folder / "run.json").write_text(json.dumps(identity))
    arguments = (*given(pair_files), *student(base_models["llama"]), "--teacher", taught, "--output_dir", folder)
    done = flipkd("train", *arguments)
    assert done.code == 4
    for changed in (
        f"threads was 77, now {torch.get_num_threads()}",
        f"machine was 'abacus', now {platform.machine()!r}",
    ):
        assert f"environment.{changed}" in done.err
    assert "model_name_or_path" not in done.err
    assert "(OMP_NUM_THREADS=77) to resume it" in done.err
    assert "--resume_elsewhere" in done.err
    done = flipkd("train", *arguments, "--set", "resume_elsewhere=true")
    assert done.code == 0, done.err
    identity["environment"]["torch"] = "0.1"
    (folder / "run.json").write_text(json.dumps(identity))
    assert flipkd("train", *arguments, "--set", "resume_elsewhere=true").code == 4


@pytest.mark.parametrize(
    "inside, message",
    [("", "a matcher of flipkd"), ("matcher", "a matcher of flipkd"), ("matcher/adapter", "an adapter")],
)
def test_train_on_a_matcher_says_so_before_it_asks_for_a_teacher(trained, pair_files, tmp_path, inside, message):
    """Case 18: also where the command lacks a teacher."""
    done = flipkd("train", *given(pair_files), *student(Path(trained) / inside), "--output_dir", tmp_path / "run")
    assert (done.code, message in done.err) == (4, True), done.err


def test_train_and_teach_leave_the_random_state_as_it_was(base_models, pair_files, encoders, tmp_path):
    inputs = {"train_file": pair_files["train"], "validation_file": pair_files["validation"]}
    small = {
        "dtype": "float32",
        "max_text_length": 16,
        "lora_r": 4,
        "readout_r": 8,
        "objectives": {"answer_cross_entropy": 1.0},
    }
    base = {"model_name_or_path": str(base_models["llama"]), "output_dir": str(tmp_path / "run")}
    encoder = {"teacher_name_or_path": str(encoders / "bi"), "output_dir": str(tmp_path / "teacher")}
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    teach(TeachConfig.check(inputs | encoder))
    train(TrainConfig.check(inputs | small | base))
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
