"""The programs in examples/: they run on tiny models, and the output that they show is theirs."""

from __future__ import annotations

import csv
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
PROGRAMS = {path.stem: path for path in sorted(FOLDER.rglob("*.py")) if "output" not in path.parts}
NUMBER = re.compile(r"-?\d+\.\d+")


@pytest.fixture
def example(monkeypatch):
    """`example(name)` -> the module of that program."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(name, PROGRAMS[name])
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def shown(name: str) -> str:
    """The output at the end of a program's file."""
    _, _, output = PROGRAMS[name].read_text(encoding="utf-8").partition("\n# Output:\n#\n")
    return "".join(f"{line[6:]}\n" for line in output.splitlines())


@pytest.mark.parametrize("name", PROGRAMS)
def test_examples_show_their_output_and_how_to_run_them(example, name):
    assert shown(name).strip()
    assert f"    python examples/{PROGRAMS[name].relative_to(FOLDER).as_posix()}" in example(name).__doc__
    assert callable(example(name).main)


def test_example_of_objectives_shows_their_losses(example, capsys):
    example("compare_objectives").main()
    printed, kept = capsys.readouterr().out, shown("compare_objectives")
    assert NUMBER.sub("", printed) == NUMBER.sub("", kept)
    given, expected = ([float(number) for number in NUMBER.findall(text)] for text in (printed, kept))
    assert given == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_examples_of_matching_run_one_after_another(example, base_models, encoders, tmp_path, capsys):
    folder, settings = (
        str(tmp_path),
        {"dtype": "float32", "max_text_length": 16, "training_arguments": {"max_steps": 2}},
    )
    models = {"encoder": str(encoders / "bi"), "llm": str(base_models["llama"])}
    faq = example("faq_matching")
    faq.main(folder, **models, pairs=48, settings=settings, threshold="f1")
    printed = capsys.readouterr().out
    assert all(question in printed for question in faq.QUESTIONS)
    assert len(re.findall(r"^  (match|no_match|review) +\d\.\d\d  \w+: ", printed, re.MULTILINE)) == 3

    example("duplicate_questions").main(folder, count=10, threshold="f1")
    assert re.match(
        r"10 questions, \d+ candidate pairs, \d+ called duplicates, \d+ of them are\n", capsys.readouterr().out
    )

    example("rerank_search_results").main(folder, count=3)
    assert re.match(r"TF-IDF +MRR 0\.\d{3}\nranked by the matcher +MRR 0\.\d{3}\n", capsys.readouterr().out)


@pytest.mark.slow
def test_the_faq_bot_is_served_reviewed_and_retrained(example, base_models, encoders, tmp_path, capsys):
    settings = {"dtype": "float32", "max_text_length": 16, "training_arguments": {"max_steps": 2}}
    models = {"encoder": str(encoders / "bi"), "llm": str(base_models["llama"])}
    example("faq_bot").main(str(tmp_path), **models, settings=settings)
    printed = capsys.readouterr().out
    assert re.search(r"^the second matcher answers \d+ of 14 test questions rightly$", printed, re.MULTILINE)
    assert re.search(
        r"^\d+ pairs, \d+ labelled, 0 with different labels, 0 labelled but undecided$", printed, re.MULTILINE
    )
    with open(tmp_path / "reviewed.csv", encoding="utf-8") as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"0", "1"}
    labels = {
        (row["text1"], row["text2"]): row["label"] for row in example("faq_bot").read_rows(tmp_path / "reviewed.csv")
    }
    for row in example("faq_bot").read_rows(FOLDER / "faq_bot" / "asked.csv"):
        if (row["asked"], row["question"]) in labels:
            assert labels[row["asked"], row["question"]] == "1"


@pytest.mark.slow
def test_the_products_are_joined(example, base_models, encoders, tmp_path, capsys):
    settings = {"dtype": "float32", "max_text_length": 16, "training_arguments": {"max_steps": 2}}
    products = example("dedupe_products")
    folder = str(tmp_path / "products")
    products.main(folder, encoder=str(encoders / "bi"), llm=str(base_models["llama"]), settings=settings)
    first, second, third, *clusters = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"46 offers of 20 products, \d+ candidates", first)
    assert re.fullmatch(r"\d+ entities; \d+ of 32 pairs of the same product are joined, and", second)
    assert re.fullmatch(r"\d+ pairs of two products; \d+ weak matches alone hold a cluster together", third)
    assert all(re.match(r" +\d+  \w", line) for line in clusters)
