"""Command line of teach and train: model families, readings, teachers, stops, full disks, locked folders."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path

import forked
import pytest
from command_line import flipkd, given, student
from small_disk import NO_NAMESPACES

from flipkd.run_lock import locked_run

PLAIN = {"objectives": "{answer_cross_entropy: 1}"}
PAIRS_ONLY = {"objectives.in_batch_kl": 0}  # what a teacher without vectors can teach


def rows_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def check_matcher(folder, pair_files) -> None:
    """A finished run folder answers through evaluate and match, and both agree."""
    measured = flipkd("evaluate", "--matcher", folder, "--test_file", pair_files["test"], "--json")
    assert measured.code == 0, measured.err
    metrics = json.loads(measured.out)
    assert metrics["n"] == 24
    assert 0 <= metrics["average_precision"] <= 1
    matched = flipkd("match", "--matcher", folder, pair_files["test"])
    assert matched.code == 0, matched.err
    rows = rows_of(matched.out)
    with open(pair_files["test"], encoding="utf-8") as handle:
        pairs = list(csv.DictReader(handle))
    assert [(row["text1"], row["text2"]) for row in rows] == [(pair["text1"], pair["text2"]) for pair in pairs]
    assert len({row["score"] for row in rows}) > 3
    for row in rows:
        assert row["decision"] == ("match" if row["score"] >= metrics["threshold"] else "no_match")
        assert 0 < row["probability"] < 1
    right = sum((row["decision"] == "match") == (pair["label"] == "1") for row, pair in zip(rows, pairs, strict=True))
    assert right / 24 == pytest.approx(metrics["accuracy"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "family, reading",
    [("qwen2", "joint"), ("gemma3", "joint"), ("llama", "separate"), ("llama", "blocked")],  # llama, joint: `trained`
)
def test_train_and_match_with_every_family_and_reading(family, reading, base_models, pair_files, taught, tmp_path):
    run = tmp_path / "run"
    arguments = student(base_models[family], reading=reading, num_train_epochs=1)
    done = flipkd("train", *given(pair_files), *arguments, "--teacher", taught, "--output_dir", run)
    assert done.code == 0, done.err
    assert done.out.endswith(f"\nmatcher: {run / 'matcher'}\n")
    assert "| average_precision |" in done.out
    check_matcher(run, pair_files)


def test_train_of_a_llama_that_reads_jointly_makes_a_matcher(trained, pair_files):
    check_matcher(trained, pair_files)


@pytest.mark.parametrize("kind", ["cross_encoder", "scores", "plain"])
def test_train_with_other_teachers_and_without_one(kind, base_models, encoders, pair_files, tmp_path):
    run, teacher, arguments = tmp_path / "run", tmp_path / "teacher", []
    if kind != "plain":
        arguments = [
            "--set",
            f"teacher_type={kind}",
            "--teacher_name_or_path",
            encoders / "cross",
            "--output_dir",
            teacher,
        ]
        done = flipkd("teach", *given(pair_files), *arguments, "--set", "num_train_epochs=1")
        assert done.code == 0, done.err
        assert "average_precision" in done.out
        arguments = ["--teacher", teacher]
    changes = PLAIN if kind == "plain" else PAIRS_ONLY
    train = ("train", *given(pair_files), *arguments, "--output_dir", run)
    done = flipkd(*train, *student(base_models["llama"], **changes, num_train_epochs=1))
    assert done.code == 0, done.err
    check_matcher(run, pair_files)
    if kind == "cross_encoder":
        shutil.rmtree(run)
        done = flipkd(*train, *student(base_models["llama"]))
        assert done.code == 4
        assert "in_batch_kl compares all texts of a batch, which needs the embeddings of a bi-encoder" in done.err
        assert "--objectives.in_batch_kl 0" in done.err


def test_train_with_a_yaml_file_set_and_options(base_models, pair_files, tmp_path):
    run = tmp_path / "run"
    (tmp_path / "run.yaml").write_text(
        f"train_file: {pair_files['train']}\nvalidation_file: {pair_files['validation']}\n"
        f"model_name_or_path: {base_models['llama']}\nobjectives: {{answer_cross_entropy: 1}}\n"
        "dtype: float32\nlora_r: 4\nreadout_r: 8\nnum_train_epochs: 1\nlogging_steps: 1\nseed: 1\n"
    )
    arguments = ("train", "--config", tmp_path / "run.yaml", "--output_dir", run, "--set", "lora_r=2", "--seed", 5)
    done = flipkd(*arguments)
    assert done.code == 0, done.err
    assert f"loading {base_models['llama']} ..." in done.err
    names, *figures = [line.split() for line in done.err.splitlines() if re.match(r" +(step|\d+)  ", line)]
    assert names[:4] == ["step", "epoch", "loss", "answer_cross_entropy"]
    assert [line[0] for line in figures] == ["1", "2", "3"]
    recorded = json.loads((run / "run.json").read_text())["config"]
    assert (recorded["lora_r"], recorded["readout_r"], recorded["seed"]) == (2, 8, 5)
    (tmp_path / "run.yaml").write_text("lerning_rate: 1\n")
    done = flipkd(*arguments)
    assert done.code == 4
    assert "no setting is called 'lerning_rate'; did you mean 'learning_rate'?" in done.err


@pytest.mark.scenario("T5")
def test_train_returns_a_finished_run_and_rejects_other_settings(trained, base_models, pair_files, taught):
    arguments = (*given(pair_files), "--teacher", taught, "--output_dir", trained)
    before = Path(trained, "matcher", "manifest.json").stat().st_mtime_ns
    done = flipkd("train", *arguments, *student(base_models["llama"]))
    assert done.code == 0
    assert done.out.endswith(f"\nmatcher: {trained}/matcher\n")
    assert "already finished; nothing to do" in done.err
    done = flipkd("train", *arguments, *student(base_models["llama"], learning_rate=0.02, seed=3))
    assert done.code == 4
    assert "(learning_rate was 0.01, now 0.02; seed was 0, now 3" in done.err
    done = flipkd("train", *arguments, *student(base_models["qwen2"]))
    assert done.code == 4
    assert "data.model has other content" in done.err
    assert Path(trained, "matcher", "manifest.json").stat().st_mtime_ns == before


def test_train_reuses_the_folder_of_a_run_that_did_not_start(base_models, encoders, pair_files, tmp_path):
    train = ("train", *given(pair_files), "--output_dir", tmp_path / "run")
    for arguments in (student("no-such-model", **PLAIN), student(base_models["llama"])):  # a typo; a teacher forgotten
        done = flipkd(*train, *arguments)
        assert done.code == 4
        assert "started with other settings" not in done.err
    done = flipkd(*train, *student(base_models["llama"], **PLAIN, report_to="tensorboard", num_train_epochs=1))
    assert (done.code == 0) or "requires tensorboard to be installed" in done.err
    done = flipkd(*train, *student(base_models["llama"], **PLAIN, num_train_epochs=1))
    assert done.code == 0, done.err
    teach = ("teach", *given(pair_files), "--output_dir", tmp_path / "t", "--set", "fine_tune=false")
    assert flipkd(*teach, "--teacher_name_or_path", tmp_path / "typo").code == 4
    done = flipkd(*teach, "--teacher_name_or_path", encoders / "bi")
    assert done.code == 0, done.err


@pytest.mark.scenario("T9")
def test_train_rejects_a_second_run_in_the_same_folder(base_models, pair_files, tmp_path):
    with locked_run(tmp_path / "run", {}):
        arguments = student(base_models["llama"], **PLAIN)
        done = flipkd("train", *given(pair_files), *arguments, "--output_dir", tmp_path / "run")
    assert done.code == 4
    assert "another run is writing here" in done.err


@pytest.mark.slow
def test_train_saves_on_ctrl_c_and_resumes(base_models, pair_files, tmp_path):
    run = tmp_path / "run"
    arguments = student(base_models["llama"], **PLAIN, num_train_epochs=20, logging_steps=1)
    command = ("train", *given(pair_files), *arguments, "--output_dir", run)

    def press() -> None:
        while not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").read_text().count("\n") < 3:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    done = flipkd(*command)
    assert done.code == 75, done.err
    assert "stopping after this step and saving" in done.err
    stopped = int(done.err.partition("flipkd: stopped at step ")[2].split()[0])
    assert 3 <= stopped < 60
    done = flipkd(*command)
    assert done.code == 0, done.err
    assert f"resuming at checkpoint-{stopped}" in done.err
    steps = [row["step"] for row in rows_of((run / "metrics.jsonl").read_text()) if "loss" in row]
    assert steps == list(range(1, 61))


@pytest.mark.scenario("T3")
@pytest.mark.slow
def test_train_resumes_after_a_full_disk(base_models, pair_files, tmp_path):
    arguments = [*given(pair_files), *student(base_models["llama"], **PLAIN)]
    done = forked.run(Path(__file__).parents[1] / "full_disk_child.py", tmp_path, *arguments)
    if done.returncode == NO_NAMESPACES:
        pytest.skip("no mount namespaces here")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    outcomes = json.loads(done.stdout)
    assert outcomes.pop("read-only") == [5, []]
    assert len(outcomes) >= 4
    for free, (code, left) in outcomes.items():
        assert code == 5, f"{free} bytes free"
        assert left == [], f"{free} bytes free"
