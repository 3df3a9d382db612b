"""Results as text: aligned tables, CSV round trips, writable paths."""

from __future__ import annotations

import csv
import io
import os
import sys
import tempfile
from importlib import resources
from pathlib import Path

import pytest
from faults import in_child
from hypothesis import given
from hypothesis import strategies as st

from flipkd.commands.results import REPORT, command_line, csv_text, metrics_table, require_writable, text_table
from flipkd.commands.row_file import write_rows
from flipkd.errors import ResourceError


@given(st.lists(st.tuples(st.text(), st.none() | st.integers()), max_size=20))
def test_csv_text_round_trips_any_cell(rows):
    read = list(csv.reader(io.StringIO(csv_text(["a\rb", "c"], rows), newline=""), strict=True))
    assert read == [["a\rb", "c"], *([text, "" if number is None else str(number)] for text, number in rows)]


def test_csv_text_quotes_a_lone_carriage_return():
    assert csv_text(["a", "b"], [["x\ry", 1], ["z", 2]]) == 'a,b\n"x\ry","1"\nz,2\n'


def test_text_table_aligns_columns():
    lines = text_table(["a", "long"], [["xxx", "1"], ["y", "22"]]).splitlines()
    assert lines == ["| a   | long |", "|-----|------|", "| xxx | 1    |", "| y   | 22   |"]
    assert text_table(["a"], []).splitlines() == ["| a |", "|---|"]


def test_metrics_table_writes_large_numbers_in_full():
    lines = metrics_table({"test": {"n": 12345, "f1": 0.66667, "threshold": 532971.9}}).splitlines()
    assert lines[2:] == ["| n         | 12,345  |", "| f1        | 0.6667  |", "| threshold | 532,972 |"]


def test_require_writable_rejects_bad_paths_and_leaves_nothing(tmp_path):
    require_writable(tmp_path / "new" / "o.csv")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "o.csv", tmp_path / "new"):
        with pytest.raises(ResourceError):
            require_writable(path)


@pytest.mark.scenario("B5")
def test_require_writable_keeps_a_table_whose_texts_hold_the_mark(tmp_path):
    row = {"text1": "the origin of the card", "original": "origin", "label": 1}
    for name in ("mine.csv", "mine.jsonl", "mine.parquet"):
        write_rows(tmp_path / name, [row])
        with pytest.raises(ResourceError, match="is no earlier result"):
            require_writable(tmp_path / name, mark="origin")
        (tmp_path / name).unlink()
        write_rows(tmp_path / name, [row | {"origin": "edits"}])
        require_writable(tmp_path / name, mark="origin")
    for name, content in (("a.jsonl", b"[["), ("a.jsonl", b"1"), ("a.csv", b"\n"), ("a.parquet", b"PAR1 origin PAR1")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ResourceError, match="is no earlier result"):
            require_writable(tmp_path / name, mark="origin")


@pytest.mark.scenario("B5")
def test_require_writable_keeps_a_page_that_is_no_report(tmp_path):
    page = tmp_path / "index.html"
    page.write_text("<!DOCTYPE html><title>My own page</title>")
    with pytest.raises(ResourceError, match="is no earlier result"):
        require_writable(page, mark=REPORT)
    for template in ("page.html.j2", "watch.html.j2"):
        page.write_text(resources.files("flipkd.report").joinpath(template).read_text())
        require_writable(page, mark=REPORT)


@pytest.mark.scenario("B5")
def test_require_writable_replaces_only_a_result_of_the_same_command(tmp_path):
    path = tmp_path / "o.csv"
    for content in ("", "text1,text2,score,probability,decision\n", "x" * 100_000 + ",decision\n"):
        path.write_text(content)
        require_writable(path, mark="decision")
    path.write_text("text1,text2,label\na,b,1\n")
    with pytest.raises(ResourceError, match="exists and is no earlier result of this command"):
        require_writable(path, mark="decision")
    require_writable(path)


@pytest.mark.scenario("B5")
def test_require_writable_rejects_a_read_only_folder():
    with tempfile.TemporaryDirectory() as name:  # pytest's own cannot be reached by others
        folder = Path(name)
        folder.chmod(0o555)

        def work():
            if os.geteuid() == 0:  # root may write everywhere
                os.setuid(65534)
            with pytest.raises(ResourceError, match=rf"{name}/o\.csv.*choose a folder with write permission"):
                require_writable(folder / "o.csv")

        assert in_child(work) == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["/usr/bin/flipkd", "compare", "--set", "seeds=[0, 1]"], "flipkd compare --set 'seeds=[0, 1]'"),
        (["/x/flipkd/__main__.py", "compare"], "flipkd compare"),
        (["mine.py"], "mine.py"),
    ],
)
def test_command_line_is_the_started_command(monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "argv", arguments)
    assert command_line() == message
