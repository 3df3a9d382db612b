"""Command line: errors, exit codes, imports, and the use of stdout and stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from command_line import flipkd, given

from flipkd import __version__ as flipkd_version
from flipkd.cli import ORDER

FILES = ["--train_file", "a.csv", "--validation_file", "b.csv", "--test_file", "c.csv"]


@pytest.mark.parametrize(
    "words, code, expected",
    [
        (["nope"], 2, "No such command 'nope'"),
        (["match", "--qqq"], 2, "No such option: --qqq (see: flipkd match --help)"),
        (["match", "--pairs", "x.csv"], 2, "--pairs (it is not an option: write its value without --pairs; see: "),
        (["ab", "--matcher", "m"], 2, "No such option: --matcher (see: flipkd ab --help)"),
        (["train", "--max_steps", "1"], 2, "(write --training_arguments.max_steps VALUE; see: flipkd train --help"),
        (["train", "--lerning_rate", "1"], 2, "did you mean --learning_rate? see: flipkd train --help"),
        (["train", "--seed", "1", "2"], 2, "write a list as A,B; a flag takes no value"),
        (["train", "--reading", "jiont"], 2, "'jiont' is not one of 'joint', 'separate', 'blocked'"),
        (["train", *FILES[:4], "--lora_r", "x"], 2, "lora_r is 'x'; write a whole number"),
        (["train", *FILES[:4], "--lora_r"], 2, "requires an argument"),
        (["train", *FILES[:4], "--template.question"], 2, "--template.question needs a value"),
        (["train", *FILES[:4], "--objectives", "margin_hinge"], 2, "--objectives 'margin_hinge': write KEY=VALUE"),
        (["train", *FILES[:4], "--readout_layers", "[1"], 2, "--readout_layers: '[1' is not a YAML value"),
        (["match", "x.csv"], 2, "matcher is missing; give --matcher, or write it in the YAML file of --config"),
        (["index", "lst", "x"], 2, "No such command 'lst'"),
        (["index", "x.csv"], 2, "encoder is missing"),
        (["search"], 2, "query is missing; give it after"),
        (["match", "--matcher", "m"], 2, "give a file of pairs, or one pair as --text1 and --text2"),
        (["match", "--matcher", "m", "--text1", "a"], 2, "give a file of pairs, or one pair"),
        (["match", "--matcher", "m", "x.csv", "--text1", "a"], 2, "give a file of pairs, or one pair"),
        (["match", "--matcher", "m", "--text1", "a", "--text2", "b", "--output", "o.csv"], 2, "for a file of pairs"),
        (
            ["match", "--matcher", "m", "x.csv", "--output", "o.txt"],
            2,
            "unknown file type; name the result .csv or .jsonl",
        ),
        (["match", "--matcher", "m", "x.csv", "--batch_size", "0"], 2, "batch_size is 0"),
        (["check", "x.csv", "--columns", "text1"], 2, "--columns 'text1': write KEY=VALUE"),
        (["check", "nowhere.csv"], 3, "nowhere.csv: no such file"),
        (["train"], 2, "train_file is missing"),
        (["train", "--set", "seed"], 2, "--set 'seed' has no '='"),
        (["train", "--config", "nowhere.yaml"], 4, "nowhere.yaml: no such file"),
        (["teach", "--train_file", "x.csv", "--set", "fine_tun=no"], 2, "did you mean 'fine_tune'?"),
        (["compare", "--set", "train.x=1"], 2, "train_file is missing"),
        (["compare", "--set", "lora_r=4"], 2, "it is a setting of flipkd train: --train.lora_r"),
        (["compare", "--lora_r", "4"], 2, "it is a setting of flipkd train: --train.lora_r"),
        (["compare", *FILES, "--set", "systems=tfidf,plain"], 2, "write a list, such as [a, b]"),
        (["train", "--set", "epochs=1"], 2, "did you mean 'num_train_epochs'?"),
        (["train", "--config", "nowhere.yaml", "--set", "epochs"], 4, "nowhere.yaml: no such file"),
    ],
)
def test_main_reports_errors_as_one_sentence_and_an_exit_code(words, code, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = flipkd(*words)
    assert done.code == code
    assert expected in done.err
    assert done.err.startswith("flipkd: ")
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback_at_any_position(tmp_path):
    for words in (["--debug", "check", tmp_path / "x.csv"], ["check", tmp_path / "x.csv", "--debug"]):
        done = flipkd(*words)
        assert done.code == 3
        assert "Traceback (most recent call last)" in done.err
        assert done.err.splitlines()[-1].startswith("flipkd: ")
    assert "Traceback" not in flipkd("check", tmp_path / "x.csv").err


EACH = """
import json, sys
from flipkd.cli import main
for sys.argv[1:] in json.loads(sys.argv[1]):
    try: main()
    except SystemExit: pass
    print(end="\\0")
"""


def child(code: str, *words: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, **options)


def test_help_imports_no_heavy_library():
    commands = [[], ["--help"], ["train", "--help"]]
    done = child(
        EACH + "print(*sys.modules, file=sys.stderr)", json.dumps(commands), env=os.environ | {"COLUMNS": "120"}
    )
    texts = done.stdout.split("\0")[:-1]
    assert len(texts) == len(commands)
    assert all(text.lstrip().startswith("Usage: flipkd") for text in texts)
    assert not {"torch", "transformers", "datasets", "numpy", "sklearn"} & set(done.stderr.split())
    assert "learning_rate" in texts[-1]
    assert "joint|separate|blocked" in texts[-1]


@pytest.mark.scenario("D9", "D11")
def test_train_rejects_bad_pairs_before_importing_torch(tmp_path):
    (tmp_path / "one.csv").write_text("text1,text2,label\na,b,1\nc,d,1\n\u200b,f,1\n", encoding="utf-8")
    commands = [
        ["train", "--train_file", "one.csv", "--validation_file", "one.csv"],
        ["teach", "--train_file", "one.csv"],
        ["evaluate", "--matcher", "m", "--test_file", "one.csv"],
        ["match", "--matcher", "m", "one.csv"],
    ]
    code = (
        "import json, sys; from flipkd.cli import main\n"
        "for sys.argv[1:] in json.loads(sys.argv[1]):\n"
        "    try: main()\n"
        "    except SystemExit as stop: print(sys.argv[1], stop.code, 'torch' in sys.modules)\n"
        "    print(end='.', file=sys.stderr)"
    )
    done = child(code, json.dumps(commands), cwd=tmp_path)
    assert done.stdout.splitlines() == [f"{verb} 3 False" for verb, *_ in commands], done.stderr
    *messages, rest = done.stderr.split("\n.")
    assert rest == ""
    for (verb, *_), message in zip(commands, messages, strict=True):
        assert "row 3" in message
        assert ("only one class" in message) == (verb != "match")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.csv"]


@pytest.mark.slow
def test_main_writes_results_to_stdout_and_messages_to_stderr(trained, encoders, pair_files, tmp_path):
    teach = ["teach", *given(pair_files), "--teacher_name_or_path", encoders / "bi", "--output_dir", tmp_path / "t"]
    match = ["match", "--matcher", trained, pair_files["test"]]
    code = "import json, sys; from flipkd.cli import main\nfor words in json.loads(sys.argv[1]): sys.argv[1:] = words; main()"
    done = child(code, json.dumps([list(map(str, words)) for words in (teach, match)]))
    assert done.returncode == 0, done.stderr
    message, rows = done.stdout.split(f"teacher: {tmp_path / 't'}\n")
    assert message.startswith("| metric")
    assert len(rows.splitlines()) == 24
    # Which model is better, after so little fine-tuning of so small a model, differs between processors.
    may_be_told = ("train", "validation", "the fine-tuned model is used", "the pretrained model is used", "loading ")
    assert done.stderr.count("loading ") == 2
    assert all(line.startswith(may_be_told) for line in done.stderr.splitlines()), done.stderr


@pytest.mark.slow
def test_main_handles_a_full_disk_and_an_ascii_locale(tmp_path):
    (tmp_path / "pé.csv").write_text("text1,text2,label\na,b,1\nc,d,0\ne,f,1\ng,h,0\n")
    command = [sys.executable, "-m", "flipkd", "check", str(tmp_path / "pé.csv")]
    with open("/dev/full", "w") as full:  # opened for writing, never replaced
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 5
    assert done.stderr == "flipkd: the disk of the output is full; free some space and run again\n"
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, "pé.csv" in done.stdout.decode("utf-8")) == (0, True)


def test_version_and_short_help_options():
    assert flipkd("--version").out == f"flipkd {flipkd_version}\n"
    assert flipkd("match", "-h").out == flipkd("match", "--help").out


def test_help_groups_the_commands_in_the_order_of_the_work_one_line_each(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = flipkd("--help").out.splitlines()
    panels = [line.strip("╭─╮ ") for line in lines if line.startswith("╭")]
    assert panels == ["Options", "Data", "Train and evaluate", "Use", "Operate", "Publish", "Experiment"]
    commands = [line for line in lines[lines.index(next(line for line in lines if "Data" in line)) :] if "│" in line]
    assert [line.split()[1] for line in commands] == ORDER
