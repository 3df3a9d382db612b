"""Tables of results: means over seeds, the chosen score, columns that line up."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from pathlib import Path

import pytest
from faults import in_child
from hypothesis import given
from hypothesis import strategies as st

from flipkd.errors import ResourceError
from flipkd.stages.results import csv_text, require_writable, results_table, text_table


def result(system: str, f1: float, seed: int = 0, *, score: str = "answer", overrides=None):
    metrics = dict.fromkeys(("f1", "average_precision", "accuracy", "roc_auc", "ece"), f1)
    by_score = (
        {"answer": {"test": metrics}, "cosine": {"test": metrics}}
        if system == "flipped"
        else {"answer": {"test": metrics}}
    )
    return {
        "data": "d",
        "name": system,
        "system": system,
        "seed": seed,
        "overrides": overrides or {},
        "score": score,
        "by_score": by_score,
        "seconds": 10.0 * (seed + 1),
        "peak_memory_bytes": 2**30 * (seed + 1),
    }


def cells(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]


def test_one_seed_is_a_figure_and_several_are_a_mean_with_half_an_interval():
    table = results_table([result("plain", 0.5)])
    assert cells(table)[2] == ["d", "plain", "answer", *["0.500"] * 5, "1", "10", "1.0"]
    table = results_table([result("plain", 0.5), result("plain", 0.7, 1)])
    assert cells(table)[2] == ["d", "plain", "answer", *["0.600 ± 1.271"] * 5, "2", "15", "2.0"]  # t(1) = 12.706
    table = results_table([result("tfidf", 0.5), result("tfidf", 0.5, 1)])
    assert cells(table)[2][3:8] == ["0.500"] * 5, "a seed changes nothing, so nothing is known of a spread"


def test_the_chosen_score_has_a_star_and_settings_are_kept_apart():
    table = results_table([result("flipped", 0.5, score="cosine"), result("plain", 0.1, overrides={"lora_r": 2})])
    assert [row[2] for row in cells(table)[2:]] == ["answer", "cosine*", "answer"]
    assert table.endswith("(* chosen on validation)")
    two = results_table([result("plain", 0.1), result("plain", 0.3, overrides={"lora_r": 2})])
    assert [row[3] for row in cells(two)[2:]] == ["0.100", "0.300"]


def test_seeds_that_chose_differently_have_a_row_of_what_each_chose():
    units = [result("flipped", 0.4, score="cosine"), result("flipped", 0.6, 1, score="answer")]
    units[0]["by_score"]["answer"] = {"test": dict.fromkeys(units[0]["by_score"]["answer"]["test"], 0.1)}
    rows = cells(results_table(units))[2:]
    assert [row[2] for row in rows] == ["answer", "cosine", "chosen*"]
    assert [row[3].split()[0] for row in rows] == ["0.350", "0.500", "0.500"]


@given(st.lists(st.tuples(st.text(), st.none() | st.integers()), max_size=20))
def test_any_cells_read_back_as_they_were(rows):
    read = list(csv.reader(io.StringIO(csv_text(["a\rb", "c"], rows), newline=""), strict=True))
    assert read == [["a\rb", "c"], *([text, "" if number is None else str(number)] for text, number in rows)]


def test_a_lone_carriage_return_is_quoted():
    assert csv_text(["a", "b"], [["x\ry", 1], ["z", 2]]) == 'a,b\n"x\ry","1"\nz,2\n'


def test_columns_line_up():
    lines = text_table(["a", "long"], [["xxx", "1"], ["y", "22"]]).splitlines()
    assert lines == ["| a   | long |", "|-----|------|", "| xxx | 1    |", "| y   | 22   |"]
    assert text_table(["a"], []).splitlines() == ["| a |", "|---|"]


def test_what_cannot_be_written_is_refused_and_nothing_is_left(tmp_path):
    require_writable(tmp_path / "new" / "o.csv")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "o.csv", tmp_path / "new"):
        with pytest.raises(ResourceError):
            require_writable(path)


@pytest.mark.scenario("B5")
def test_a_read_only_folder_is_refused():
    with tempfile.TemporaryDirectory() as name:  # pytest's own cannot be reached by others
        folder = Path(name)
        folder.chmod(0o555)

        def work():
            if os.geteuid() == 0:  # root may write everywhere
                os.setuid(65534)
            with pytest.raises(ResourceError, match=rf"{name}/o\.csv.*choose a folder that you may write to"):
                require_writable(folder / "o.csv")

        assert in_child(work) == 0
