"""Extras: the core works without their packages, and a command that needs one names the install line."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from hidden_packages import run_without
from tiny import make_table, write_pairs

from flipkd.errors import ConfigError
from flipkd.extras import EXTRAS, require_extra
from flipkd.files import new_folder

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
ALWAYS_INSTALLED = {"accelerate"}  # in no list of the core, but peft needs it and imports it
PERHAPS_MISSING = {"llama_cpp"}  # it is compiled on installation, so the tests run without it too
HIDDEN = {package for packages in EXTRAS.values() for package in packages} - ALWAYS_INSTALLED - PERHAPS_MISSING


@pytest.fixture(scope="module")
def run_core(make_student, tmp_path_factory):
    """`run_core(*commands)` -> exit code, stdout and stderr of each, without the packages of every extra.

    They run in a folder with `pairs.csv`, with `distinct.csv` (no shared texts) and with the matcher `matcher`, whose
    student is not trained.
    """
    folder = tmp_path_factory.mktemp("core")
    write_pairs(folder / "pairs.csv", make_table(80, seed=3))
    rows = "".join(f"left {row},right {row},{row % 2}\n" for row in range(40))
    (folder / "distinct.csv").write_text(f"text1,text2,label\n{rows}", encoding="utf-8")
    student, contract = make_student(reading="separate")  # which has a vector for each text
    with new_folder(folder / "matcher") as matcher:
        student.save(matcher, contract)
    return lambda *commands: run_without(HIDDEN, commands, folder)


@pytest.mark.slow
def test_the_core_checks_splits_scores_and_searches_without_an_extra(run_core):
    given = ("--matcher", "matcher")
    results = run_core(
        ("check", "pairs.csv"),
        ("split", "distinct.csv", "--output_dir", "parts"),
        ("evaluate", *given, "--test_file", "pairs.csv", "--json"),
        ("calibrate", *given, "--validation_file", "pairs.csv", "--output_dir", "calibrated"),
        ("match", "pairs.csv", *given, "--output", "scored.csv"),
        ("match", *given, "--text1", "lost my card", "--text2", "my card is lost", "--json"),
        ("index", "pairs.csv", "--encoder", "matcher", "--column", "text2", "--output_dir", "index"),
        ("search", "lost my card", *given, "--index", "index", "--json"),
    )
    assert [code for code, _, _ in results] == [0] * len(results), results
    assert {"f1", "average_precision", "roc_auc", "log_loss"} <= set(json.loads(results[2][1]))


COMMANDS = {
    "teach": ("train", ("--train_file", "pairs.csv", "--output_dir", "new")),
    "train": ("train", ("--train_file", "pairs.csv", "--validation_file", "pairs.csv", "--output_dir", "new")),
    "compare": (
        "train",
        ("--train_file", "pairs.csv", "--validation_file", "pairs.csv", "--test_file", "pairs.csv"),
    ),
    "evaluate": ("report", ("--matcher", "matcher", "--test_file", "pairs.csv", "--report", "new.html")),
    "serve": ("serve", ("--matcher", "matcher")),
    "demo": ("demo", ("--output_dir", "new")),
    "export": ("onnx", ("--matcher", "matcher", "--to", "onnx", "--output_dir", "new")),
}


@pytest.mark.slow
def test_a_command_without_its_extra_ends_with_exit_code_4_and_the_install_line(run_core):
    results = run_core(*((command, *words) for command, (_, words) in COMMANDS.items()))
    for (command, (extra, _)), (code, out, error) in zip(COMMANDS.items(), results, strict=True):
        assert (code, out) == (4, ""), (command, error)
        hidden = [package for package in EXTRAS[extra] if package in HIDDEN]
        verb = "is" if len(hidden) == 1 else "are"
        line = f'needs {", ".join(hidden)}, which {verb} not installed; run: pip install "flipkd[{extra}]"\n'
        assert error.endswith(line), (command, error)


def test_require_extra_names_only_what_is_missing(monkeypatch):
    for extra in ("train", "report", "serve"):
        require_extra(extra, user="the test")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    line = 'the test needs sentence_transformers, which is not installed; run: pip install "flipkd[train]"'
    with pytest.raises(ConfigError, match=re.escape(line)):
        require_extra("train", user="the test")


@pytest.mark.parametrize("extra", EXTRAS)
def test_extras_lists_the_packages_of_pyproject(extra):
    """Each importable name belongs to a distribution that the extra lists; `demo` also has those of `train`."""
    lists = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    listed = [
        line for name in ("train", extra) for line in lists[name] if name == extra or "flipkd[train]" in lists[extra]
    ]
    names = {re.split(r"[<>=\[]", line)[0].replace("_", "-") for line in listed}
    distributions = packages_distributions()
    for package in EXTRAS[extra]:
        if package in PERHAPS_MISSING and package not in distributions:
            continue
        assert {name.lower().replace("_", "-") for name in distributions[package]} & names, package
