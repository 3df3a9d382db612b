"""The command line as a whole: what is said when something is wrong, what is imported, what goes where."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from commands import flipkd, given

from flipkd import __version__ as flipkd_version

FILES = ["--train_file", "a.csv", "--validation_file", "b.csv", "--test_file", "c.csv"]


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["nope"], 2, "No such command 'nope'"),
        (["match", "--nope"], 2, "No such option: --nope (see: flipkd match --help)"),
        (["train", "--learning_rate", "1"], 2, "it is a setting: --set learning_rate=VALUE, see: flipkd train --help"),
        (["train", "--nope", "1"], 2, "settings are given by --set KEY=VALUE, see: flipkd train --help"),
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
        (["compare", "--set", "lora_r=4"], 4, "it is a setting of flipkd train: --set train.lora_r=..."),
        (["compare", *FILES, "--set", "systems=tfidf,plain"], 4, "write systems=[a, b]"),
        (["train", "--set", "epochs=1"], 4, "did you mean 'num_train_epochs'?"),
        (["train", "--config", "nowhere.yaml", "--set", "epochs"], 4, "nowhere.yaml: no such file"),
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


@pytest.mark.scenario("D9", "D11")
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


@pytest.mark.slow
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
    assert len(rows.splitlines()) == 24
    # What fine-tuning does to so small a model differs between processors; if it hurts, that matters too.
    may_be_told = ("train", "validation", "fine-tuning made the teacher worse on the validation pairs")
    assert all(line.startswith(may_be_told) for line in done.stderr.splitlines()), done.stderr


def test_a_full_disk_behind_stdout_and_a_locale_without_the_letters(tmp_path):
    (tmp_path / "pé.csv").write_text("text1,text2,label\na,b,1\nc,d,0\ne,f,1\ng,h,0\n")
    command = [sys.executable, "-m", "flipkd", "check", str(tmp_path / "pé.csv")]
    with open("/dev/full", "w") as full:  # opened for writing, never replaced
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 5
    assert done.stderr == "flipkd: the disk that the output goes to is full; free some space\n"
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, "pé.csv" in done.stdout.decode("utf-8")) == (0, True)


def test_version_and_short_help():
    assert flipkd("--version").out == f"flipkd {flipkd_version}\n"
    assert flipkd("match", "-h").out == flipkd("match", "--help").out
