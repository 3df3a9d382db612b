"""Results as text: columns that line up, CSV that reads back, a file that can be written."""

from __future__ import annotations

import csv
import io
import os
import stat
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flipkd.errors import ResourceError
from flipkd.stages.results import command_line, csv_text, require_writable, text_table


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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ResourceError, match="choose a folder that you may write to"):
        require_writable(tmp_path / "o.csv")


@pytest.mark.parametrize(
    "words, told",
    [
        (["/usr/bin/flipkd", "compare", "--set", "seeds=[0, 1]"], "flipkd compare --set 'seeds=[0, 1]'"),
        (["/x/flipkd/__main__.py", "compare"], "flipkd compare"),
        (["mine.py"], "mine.py"),
    ],
)
def test_the_command_is_what_was_started(monkeypatch, words, told):
    monkeypatch.setattr(sys, "argv", words)
    assert command_line() == told
