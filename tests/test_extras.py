"""Extras: the core works without their packages, and a command that needs one names the install line."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from hidden_packages import run_without
from tiny import make_table, write_pairs

from flipkd.errors import ConfigError
from flipkd.extras import EXTRAS, require_extra
from flipkd.files import new_folder

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
ALWAYS_INSTALLED = {"accelerate"}  # in no list of the core, but peft needs it and imports it
NOT_HERE = {package for package in EXTRAS["gguf"] if find_spec(package) is None}  # llama_cpp must be compiled
HIDDEN = {package for packages in EXTRAS.values() for package in packages} - ALWAYS_INSTALLED - NOT_HERE


GIVEN = ("--matcher", "matcher")
OF_THE_CORE = (
    ("check", "pairs.csv"),
    ("split", "distinct.csv", "--output_dir", "parts"),
    ("evaluate", *GIVEN, "--test_file", "pairs.csv", "--json"),
    ("calibrate", *GIVEN, "--validation_file", "pairs.csv", "--output_dir", "calibrated"),
    ("match", "pairs.csv", *GIVEN, "--output", "scored.csv"),
    ("match", *GIVEN, "--text1", "lost my card", "--text2", "my card is lost", "--json"),
    ("index", "pairs.csv", "--encoder", "matcher", "--text", "text2", "--output_dir", "index"),
    ("search", "lost my card", *GIVEN, "--index", "index", "--json"),
)
OF_EXTRAS = {
    "teach": ("train", ("--train_file", "pairs.csv", "--output_dir", "new")),
    "train": ("train", ("--train_file", "pairs.csv", "--validation_file", "pairs.csv", "--output_dir", "new")),
    "compare": (
        "train",
        ("--train_file", "pairs.csv", "--validation_file", "pairs.csv", "--test_file", "pairs.csv"),
    ),
    "evaluate": ("report", (*GIVEN, "--test_file", "pairs.csv", "--report", "new.html")),
    "serve": ("serve", GIVEN),
    "retrieval": ("retrieval", ("--queries", "q.csv", "--documents", "d.csv", "--qrels", "j.csv")),
    "index": ("index", ("build", "pairs.csv", "--encoder", "matcher", "--engine", "lancedb", "--output_dir", "new")),
    "demo": ("demo", ("--output_dir", "new")),
    "export": ("onnx", (*GIVEN, "--to", "onnx", "--output_dir", "new")),
}


@pytest.fixture(scope="module")
def results(make_student, tmp_path_factory):
    """Exit code, stdout and stderr of each command, in one process without the packages of every extra.

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
    return run_without(HIDDEN, [*OF_THE_CORE, *((name, *words) for name, (_, words) in OF_EXTRAS.items())], folder)


@pytest.mark.slow
def test_the_core_checks_splits_scores_and_searches_without_an_extra(results):
    found = results[: len(OF_THE_CORE)]
    assert [code for code, _, _ in found] == [0] * len(found), found
    assert {"f1", "average_precision", "roc_auc", "log_loss"} <= set(json.loads(found[2][1]))


@pytest.mark.slow
def test_a_command_without_its_extra_ends_with_exit_code_4_and_the_install_line(results):
    found = results[len(OF_THE_CORE) :]
    for (command, (extra, _)), (code, out, error) in zip(OF_EXTRAS.items(), found, strict=True):
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
        if (
            package == "llama_cpp" and package not in distributions
        ):  # it is compiled on installation, so not everywhere
            continue
        assert {name.lower().replace("_", "-") for name in distributions[package]} & names, package
