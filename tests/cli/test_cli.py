"""The command line as a user meets it: files in, matcher out, scores out; and what is said when something is wrong."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import flipkd, given, student

from flipkd.claims import claimed
from flipkd.files import write_manifest

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


@pytest.mark.parametrize(
    "family, reading",
    [("qwen2", "joint"), ("gemma3", "joint"), ("llama", "separate"), ("llama", "blocked")],  # llama, joint: `trained`
)
def test_the_same_commands_serve_every_family_and_reading(
    family, reading, base_models, pair_files, taught, tmp_path, trained
):
    run = tmp_path / "run"
    words = student(base_models[family], reading=reading, num_train_epochs=1)
    done = flipkd("train", *given(pair_files), *words, "--teacher", taught, "--output_dir", run)
    assert (done.code, done.out) == (0, f"matcher: {run / 'matcher'}\n"), done.err
    check_matcher(run, pair_files)
    check_matcher(trained, pair_files)


@pytest.mark.parametrize("kind", ["cross_encoder", "scores", "plain"])
def test_other_teachers_and_none(kind, base_models, encoders, pair_files, tmp_path):
    run, teacher, words = tmp_path / "run", tmp_path / "teacher", []
    if kind != "plain":
        words = [
            "--set",
            f"teacher_type={kind}",
            "--teacher_name_or_path",
            encoders / "cross",
            "--output_dir",
            teacher,
        ]
        done = flipkd("teach", *given(pair_files), *words, "--set", "num_train_epochs=1")
        assert done.code == 0, done.err
        assert "average_precision" in done.out
        words = ["--teacher", teacher]
    changes = PLAIN if kind == "plain" else PAIRS_ONLY
    train = ("train", *given(pair_files), *words, "--output_dir", run)
    done = flipkd(*train, *student(base_models["llama"], **changes, num_train_epochs=1))
    assert done.code == 0, done.err
    check_matcher(run, pair_files)
    if kind == "cross_encoder":
        shutil.rmtree(run)
        done = flipkd(*train, *student(base_models["llama"]))
        assert done.code == 4
        assert "in_batch_kl compares all texts of a batch, which needs a bi-encoder's vectors" in done.err
        assert "--set objectives.in_batch_kl=0" in done.err


def test_a_yaml_file_with_set_and_options_over_it(base_models, pair_files, tmp_path):
    run = tmp_path / "run"
    (tmp_path / "run.yaml").write_text(
        f"train_file: {pair_files['train']}\nvalidation_file: {pair_files['validation']}\n"
        f"model_name_or_path: {base_models['llama']}\nobjectives: {{answer_cross_entropy: 1}}\n"
        "dtype: float32\nlora_r: 4\nreadout_r: 8\nnum_train_epochs: 1\nlogging_steps: 1\nseed: 1\n"
    )
    words = ("train", "--config", tmp_path / "run.yaml", "--output_dir", run, "--set", "lora_r=2", "--seed", 5)
    done = flipkd(*words)
    assert done.code == 0, done.err
    recorded = json.loads((run / "run.json").read_text())["config"]
    assert (recorded["lora_r"], recorded["readout_r"], recorded["seed"]) == (2, 8, 5)
    (tmp_path / "run.yaml").write_text("lerning_rate: 1\n")
    done = flipkd(*words)
    assert done.code == 4
    assert "no setting is called 'lerning_rate'; did you mean 'learning_rate'?" in done.err


def test_a_finished_run_returns_at_once_and_another_is_not_mixed_in(trained, base_models, pair_files, taught):
    words = (*given(pair_files), "--teacher", taught, "--output_dir", trained)
    before = Path(trained, "matcher", "manifest.json").stat().st_mtime_ns
    done = flipkd("train", *words, *student(base_models["llama"]))
    assert (done.code, done.out) == (0, f"matcher: {trained}/matcher\n")
    assert "finished before; nothing to do" in done.err
    done = flipkd("train", *words, *student(base_models["llama"], learning_rate=0.02, seed=3))
    assert done.code == 4
    assert "config.learning_rate was 0.01, now 0.02; config.seed was 0, now 3" in done.err
    done = flipkd("train", *words, *student(base_models["qwen2"]))
    assert done.code == 4
    assert "config.model_name_or_path" in done.err
    assert Path(trained, "matcher", "manifest.json").stat().st_mtime_ns == before


def test_a_run_that_never_began_does_not_bind_its_folder(base_models, encoders, pair_files, tmp_path):
    train = ("train", *given(pair_files), "--output_dir", tmp_path / "run")
    for words in (student("no-such-model", **PLAIN), student(base_models["llama"])):  # a typo; a teacher forgotten
        done = flipkd(*train, *words)
        assert done.code == 4
        assert "begun differently" not in done.err
    done = flipkd(*train, *student(base_models["llama"], **PLAIN, report_to="tensorboard", num_train_epochs=1))
    assert (done.code == 0) or "requires tensorboard to be installed" in done.err
    done = flipkd(*train, *student(base_models["llama"], **PLAIN, num_train_epochs=1))
    assert done.code == 0, done.err
    teach = ("teach", *given(pair_files), "--output_dir", tmp_path / "t", "--set", "fine_tune=false")
    assert flipkd(*teach, "--teacher_name_or_path", tmp_path / "typo").code == 4
    done = flipkd(*teach, "--teacher_name_or_path", encoders / "bi")
    assert done.code == 0, done.err


def test_two_runs_at_once(base_models, pair_files, tmp_path):
    with claimed(tmp_path / "run", {}):
        words = student(base_models["llama"], **PLAIN)
        done = flipkd("train", *given(pair_files), *words, "--output_dir", tmp_path / "run")
    assert done.code == 4
    assert "another run is writing here" in done.err


def test_ctrl_c_saves_and_the_same_command_goes_on(base_models, pair_files, tmp_path):
    run = tmp_path / "run"
    words = student(base_models["llama"], **PLAIN, num_train_epochs=20, logging_steps=1)
    command = ("train", *given(pair_files), *words, "--output_dir", run)

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


def test_a_full_disk_leaves_nothing_half_written_and_the_run_goes_on_once_there_is_space(
    base_models, pair_files, tmp_path
):
    unshare = ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    words = [*given(pair_files), *student(base_models["llama"], **PLAIN)]
    child = Path(__file__).parents[1] / "full_disk_child.py"
    path = os.pathsep.join([str(child.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        [*unshare, sys.executable, child, tmp_path, *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    outcomes = json.loads(done.stdout)
    assert outcomes.pop("read-only") == [5, []]
    assert len(outcomes) >= 4
    for free, (code, left) in outcomes.items():
        assert code == 5, f"{free} bytes free"
        assert left == [], f"{free} bytes free"


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["nope"], 2, "No such command 'nope'"),
        (["match", "--nope"], 2, "No such option: --nope (see: flipkd match --help)"),
        (["train", "--learning_rate", "1"], 2, "settings are given by --set KEY=VALUE, see: flipkd train --help"),
        (["match", "x.csv"], 2, "Missing option '--matcher'"),
        (["match", "--matcher", "m"], 2, "give a file of pairs, or one pair as --text1 and --text2"),
        (["match", "--matcher", "m", "--text1", "a"], 2, "give a file of pairs, or one pair"),
        (["match", "--matcher", "m", "x.csv", "--text1", "a"], 2, "give a file of pairs, or one pair"),
        (["match", "--matcher", "m", "--text1", "a", "--text2", "b", "--output", "o.csv"], 2, "for a file of pairs"),
        (["match", "--matcher", "m", "x.csv", "--output", "o.txt"], 2, "written as .csv or .jsonl"),
        (["match", "--matcher", "m", "x.csv", "--batch_size", "0"], 2, "--batch_size"),
        (["check", "x.csv", "--columns", "text1"], 2, "write ours=theirs"),
        (["check", "nowhere.csv"], 3, "nowhere.csv: no such file"),
        (["train"], 4, "train_file is missing"),
        (["train", "--set", "seed"], 4, "--set 'seed' has no '='"),
        (["train", "--config", "nowhere.yaml"], 4, "nowhere.yaml: no such file"),
        (["teach", "--train_file", "x.csv", "--set", "fine_tun=no"], 4, "did you mean 'fine_tune'?"),
        (["compare", "--set", "train.x=1"], 4, "train_file is missing"),
    ],
)
def test_what_is_wrong_is_one_sentence_on_stderr_and_an_exit_code(words, code, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = flipkd(*words)
    assert done.code == code
    assert said in done.err
    assert done.err.startswith("flipkd: ")
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_no_models(pair_files, base_models, taught, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    train = ("train", *given(pair_files), "--output_dir")
    for words, said in (
        ([*train, tmp_path / "1", *student(tmp_path / "empty", **PLAIN)], "no config.json"),
        (
            [*train, tmp_path / "2", *student(base_models["llama"]), "--teacher", tmp_path / "empty"],
            "teacher.json: no such file",
        ),
        ([*train, tmp_path / "3", *student(base_models["llama"])], "needs a teacher: give --teacher FOLDER"),
        (["match", "--matcher", tmp_path / "empty", pair_files["test"]], "no manifest.json"),
        (["match", "--matcher", tmp_path / "nowhere", pair_files["test"]], "no such folder"),
        (["evaluate", "--matcher", taught, "--test_file", pair_files["test"]], "no manifest.json"),
        (["teach", *given(pair_files), "--teacher_name_or_path", tmp_path / "empty"], "does not hold a usable model"),
        (["match", "--matcher", trained, pair_files["test"], "--base_model", base_models["qwen2"]], "hash"),
        (["match", "--matcher", trained, pair_files["test"], "--base_model", tmp_path / "empty"], "no config.json"),
        (["check", pair_files["test"], "--tokenizer", tmp_path / "empty"], "no tokenizer"),
    ):
        done = flipkd(*words, *(["--output_dir", tmp_path / "t"] if words[0] == "teach" else []))
        assert (done.code, done.out) == (4, ""), (words, done)
        assert said in done.err, words
        assert "Traceback" not in done.err


def test_a_damaged_matcher_is_refused_and_a_moved_base_model_is_found(trained, base_models, pair_files, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(Path(trained, "matcher"), folder)
    weights = folder / "adapter" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    done = flipkd("match", "--matcher", folder, pair_files["test"])
    assert (done.code, done.out) == (4, "")
    assert f"{weights}: sha256 mismatch" in done.err
    weights.write_bytes(whole)
    contract = json.loads((folder / "matcher.json").read_text())
    (folder / "matcher.json").write_text(json.dumps(contract | {"base_model_name_or_path": str(tmp_path / "gone")}))
    write_manifest(folder)
    one = ("match", "--matcher", folder, "--text1", "my card", "--text2", "my pin")
    done = flipkd(*one)
    assert done.code == 4
    assert "gone" in done.err
    assert "if the base model has moved, say where it is now (base_model)" in done.err
    done = flipkd(*one, "--base_model", base_models["llama"])
    assert (done.code, len(rows_of(done.out))) == (0, 1), done.err


def test_debug_shows_the_traceback_and_may_stand_anywhere(tmp_path):
    for words in (["--debug", "check", tmp_path / "x.csv"], ["check", tmp_path / "x.csv", "--debug"]):
        done = flipkd(*words)
        assert done.code == 3
        assert "Traceback (most recent call last)" in done.err
        assert done.err.splitlines()[-1].startswith("flipkd: ")
    assert "Traceback" not in flipkd("check", tmp_path / "x.csv").err


def child(code: str, *words: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, **options)


def test_help_imports_nothing_heavy():
    code = "import sys; from flipkd.cli import main\ntry: main()\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    for words in ([], ["--help"], ["train", "--help"]):
        done = child(code, *words)
        assert done.stdout.startswith("Usage: flipkd")
        assert not {"torch", "transformers", "datasets", "numpy", "sklearn"} & set(done.stderr.split())
    assert "learning_rate" in done.stdout
    assert "joint, separate, blocked" in " ".join(done.stdout.split())


@pytest.mark.parametrize("verb", ["train", "teach", "evaluate", "match"])
def test_bad_pairs_are_refused_before_torch_is_imported(verb, pair_files, tmp_path):
    (tmp_path / "one.csv").write_text("text1,text2,label\na,b,1\nc,d,1\n\u200b,f,1\n", encoding="utf-8")
    words = {
        "train": ["--train_file", "one.csv", "--validation_file", "one.csv"],
        "teach": ["--train_file", "one.csv"],
        "evaluate": ["--matcher", "m", "--test_file", "one.csv"],
        "match": ["--matcher", "m", "one.csv"],
    }[verb]
    code = "import sys; from flipkd.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    done = child(code, verb, *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "False\n")
    assert "row 3" in done.stderr
    if verb != "match":
        assert "only one class" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.csv"]


def test_a_process_of_its_own_keeps_stdout_for_results_and_stderr_for_what_matters(
    trained, encoders, pair_files, tmp_path
):
    teach = ["teach", *given(pair_files), "--teacher_name_or_path", encoders / "bi", "--output_dir", tmp_path / "t"]
    match = ["match", "--matcher", trained, pair_files["test"]]
    code = "import json, sys; from flipkd.cli import main\nfor words in json.loads(sys.argv[1]): sys.argv[1:] = words; main()"
    done = child(code, json.dumps([list(map(str, words)) for words in (teach, match)]))
    assert done.returncode == 0, done.stderr
    told, rows = done.stdout.split(f"teacher: {tmp_path / 't'}\n")
    assert told.startswith("| metric")
    assert len(rows_of(rows)) == 24
    assert all(line.startswith(("train", "validation")) for line in done.stderr.splitlines()), done.stderr
