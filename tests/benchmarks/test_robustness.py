"""The robustness benchmark: its payloads are none that training uses, flips are counted by hand, a stopped run goes on."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from flipkd.student.prompt import Template
from flipkd.training import augment

FOLDER = Path(__file__).parents[2] / "benchmarks" / "robustness"


@pytest.fixture(scope="module")
def robustness():
    sys.path.insert(0, str(FOLDER))
    try:
        names = ("payloads", "run", "page", "batches")
        modules = {name: importlib.import_module(name) for name in names}
        yield SimpleNamespace(**modules)
    finally:
        sys.path.remove(str(FOLDER))
        for name in names:
            sys.modules.pop(name, None)


def test_no_instruction_or_neutral_text_stands_in_the_training_strings(robustness):
    trained = {text.casefold() for text in (*augment.INSTRUCTIONS, *augment.NEUTRAL)}
    tried = [text for texts in robustness.payloads.INSTRUCTIONS.values() for text in texts]
    for text in (*tried, *robustness.payloads.NEUTRAL):
        filled = [pattern.replace("{}", word) for pattern in trained for word in augment.VERDICTS]
        assert text.casefold() not in filled
    assert len(robustness.payloads.payloads(Template())) >= 30
    assert len(robustness.payloads.INSTRUCTIONS) >= 8, "languages"


def test_neutral_text_is_as_long_as_its_payload(robustness):
    for payload in robustness.payloads.payloads(Template()):
        string = payload.made("my card", "the pin")
        words = robustness.payloads.neutral(len(string), 3)
        assert len(string) <= len(words) < len(string) + 15


def test_flips_are_counted_of_the_pairs_that_were_decided_otherwise(robustness):
    probe = robustness.run.Probe
    made = [
        probe(of, side, kind, "x", ("a", "b"))
        for of in range(3)
        for side, kind in ((0, "role"), (1, "template"), (0, "neutral"))
    ]
    clean = np.array([False, False, True])  # the third is a match already: none of its probes counts
    now = np.array([True, False, False, True, True, True, True, True, True])
    found = robustness.run.flips(made, clean, now, wanted=True)
    assert (found["role"]["flips"], found["role"]["n"]) == (2, 2)
    assert (found["injection"]["flips"], found["injection"]["n"]) == (3, 4)
    assert found["injection_text2"]["share"] == 0.5
    assert found["neutral"]["share"] == 0.5
    assert found["injection_minus_neutral"]["share"] == 0.25
    assert found["neutral"]["low"] <= 0.5 <= found["neutral"]["high"]


def test_the_page_shows_what_the_results_say(robustness):
    page = robustness.page.PAGE.read_text(encoding="utf-8")
    assert robustness.page.MARKS.search(page)
    assert robustness.page.filled(page) == page
    changed = robustness.page.MARKS.sub(r"\1| another |\n\2", page)
    assert changed != page
    assert robustness.page.filled(changed) == page


def test_read_draws_a_part_of_a_file_with_a_fixed_seed(robustness, pair_files):
    pairs, labels = robustness.run._read(str(pair_files["train"]), None)
    drawn, some = robustness.run._read(str(pair_files["train"]), 7)
    rows = [pairs.index(pair) for pair in drawn]
    assert len(set(rows)) == 7
    assert rows == sorted(rows)
    assert rows != list(range(7))
    assert robustness.run._read(str(pair_files["train"]), 7)[0] == drawn
    assert some.tolist() == labels[rows].tolist()
    assert robustness.run._read(str(pair_files["train"]), 10**6)[0] == pairs


@pytest.mark.slow
def test_batches_change_a_score_by_what_the_script_prints(robustness, with_teacher, pair_files, monkeypatch, capsys):
    words = ["--matcher", with_teacher, "--pairs", pair_files["test"], "--count", "5"]
    monkeypatch.setattr(sys, "argv", ["batches.py", *map(str, words)])
    robustness.batches.main()
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"batches of {size}" for size in robustness.batches.BATCHES
    ]
    shifted = {2: 0.5, 8: 0.0, 32: -1.0}
    alone = SimpleNamespace(predict=lambda pairs: np.arange(len(pairs), dtype=float))
    batched = SimpleNamespace(
        predict=lambda pairs, batch_size: np.array([text for text, _ in pairs], float) + shifted[batch_size],
        calibration=SimpleNamespace(apply=lambda scores: 2 * scores),
    )
    found = robustness.batches.changes(alone, batched, [(str(number), "b") for number in range(4)])
    assert found == {2: (0.5, 1.0), 8: (0.0, 0.0), 32: (1.0, 2.0)}


def test_robustness_run_continues_after_a_stop(robustness, with_teacher, pair_files, tmp_path, monkeypatch, capsys):
    output = tmp_path / "found.json"
    words = ["--matcher", with_teacher, "--validation", pair_files["validation"], "--test", pair_files["test"]]
    monkeypatch.setattr(sys, "argv", ["run.py", *words, "--pairs", "2", "--output", str(output)])
    robustness.run.main()
    first = json.loads(output.read_text())
    assert set(first["scores"]) == {"answer", "cosine", "teacher", "combined", "with_teacher", "matcher"}
    assert set(first["scores"]["matcher"]["to_no_match"]) <= set(robustness.payloads.SPELLINGS) | {
        "neutral",
        "neutral_echo",
        "neutral_text1",
        "neutral_text2",
    }
    monkeypatch.setattr(robustness.run, "score_pairs", None)  # whatever is not known now fails
    robustness.run.main()
    assert json.loads(output.read_text()) == first
    assert "to_match injection_minus_neutral" in capsys.readouterr().out
