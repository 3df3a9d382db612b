"""The examples in the docstrings of the public names, run on tiny models."""

from __future__ import annotations

import csv
import doctest
import inspect
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import flipkd
from flipkd import Index, Matcher

NAMES = sorted(flipkd._PUBLIC)
INDEX = [{"text": "How do I change my PIN?"}, {"text": "My card is missing"}]


class LastLines(doctest.OutputChecker):
    """Compares the last lines of an output: a training prints its losses before."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        last = got.splitlines(keepends=True)[-want.count("\n") :] if want else []
        return super().check_output(want, "".join(last), optionflags)


def examples_of(name: str) -> list[doctest.DocTest]:
    """The docstrings with examples of a public name and of its methods, inherited ones too."""
    thing = getattr(flipkd, name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    parts = [part for part in getattr(thing, "__mro__", [thing]) if part.__module__.startswith("flipkd")]
    found = [test for part in parts for test in finder.find(part, name, import_module(part.__module__))]
    return [test for test in found if test.examples]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, base_models, encoders, pair_files, taught, with_teacher) -> Path:
    """Files and models under the names that the examples use."""
    folder = tmp_path_factory.mktemp("examples")
    for name, path in pair_files.items():
        shutil.copy(path, folder / f"{name}.csv")
    for name, path in {
        "llm": base_models["llama"],
        "encoder": encoders / "bi",
        "teacher": taught,
        "run": with_teacher,
    }.items():
        shutil.copytree(path, folder / name)
    with open(folder / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        rows = [(f"title {row}", f"candidate {row}", row % 2) for row in range(40)]
        csv.writer(file).writerows([("title", "candidate", "label"), *rows])
    Index(INDEX, np.eye(2, dtype=np.float32), encoder={"name": "rows of the identity"}).save(folder / "faq-index")
    return folder


@pytest.fixture(scope="module")
def matcher(folder) -> Matcher:
    """A matcher that keeps its teacher and has a band for the cascade."""
    from flipkd.student.contract import ScoreContract

    matcher = Matcher.from_pretrained(folder / "run", device="cpu")
    values = matcher.contract.model_dump() | {"cascade": {"low": -2, "high": 2, "slope": 1, "intercept": 0}}
    matcher.contract = ScoreContract.model_validate(values)
    return matcher


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_doctests_of_a_public_name_run(name, folder, matcher, monkeypatch):
    monkeypatch.chdir(folder)
    texts = ("I lost my card", "My card is missing"), ("I lost my card", "How do I change my PIN?")
    index = Index.load("faq-index")
    given = {"matcher": matcher, "pairs": list(texts), "index": index, "np": np, "flipkd": flipkd}
    runner = doctest.DocTestRunner(LastLines(), optionflags=doctest.REPORT_NDIFF)
    for test in examples_of(name):
        test.globs |= given
        report: list[str] = []
        runner.run(test, out=report.append)
        assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("name", NAMES)
def test_doctests_exist_for_each_public_name(name):
    assert name in {test.name for test in examples_of(name)}


@pytest.mark.parametrize("name", ["Index", "Matcher"])
def test_doctests_exist_for_each_public_method(name):
    methods = {f"{name}.{method}" for method in dir(getattr(flipkd, name)) if not method.startswith("_")}
    assert methods - {test.name for test in examples_of(name)} == set()


def test_a_wrong_example_is_seen():
    def wrong() -> None:
        """One.

        >>> 1 + 1
        3
        """

    [test] = doctest.DocTestFinder().find(wrong, "wrong", globs={})
    assert doctest.DocTestRunner(LastLines()).run(test, out=lambda text: None).failed == 1


@pytest.mark.parametrize("name", NAMES)
def test_docstring_of_a_public_name_begins_with_a_noun_or_verb_phrase(name):
    thing = getattr(flipkd, name)
    members = vars(thing).values() if inspect.isclass(thing) else ()
    texts = [inspect.getdoc(part) for part in (thing, import_module(thing.__module__), *members) if part is not None]
    first = {(text or "-").split()[0].strip('`":,').casefold() for text in texts}
    assert first & {"what", "where", "how", "who", "when", "whether"} == set()
