"""Result files of rows: three formats, atomic, with types that Parquet can hold."""

from __future__ import annotations

import csv
import json

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.commands.row_file import new_row_file, require_format, types_of
from flipkd.errors import ResourceError, UsageError

ROWS = [{"n": 1, "x": None, "t": "=1"}, {"n": 2, "x": 0.5, "t": "a\nb"}]
TYPES = {"n": int, "x": float, "t": str}


def write(path, rows=ROWS, types=TYPES, **settings):
    with new_row_file(path, types, **settings) as add:
        for row in rows:
            add([row])
        add([])
    return path


def test_each_format_has_the_rows(tmp_path):
    with write(tmp_path / "r.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["n", "x", "t"], ["1", "", "'=1"], ["2", "0.5", "a\nb"]]
    assert write(tmp_path / "r.csv", guard=False).read_text(encoding="utf-8").splitlines()[1] == "1,,=1"
    assert [json.loads(line) for line in write(tmp_path / "r.jsonl").read_text().splitlines()] == ROWS
    assert pq.read_table(write(tmp_path / "r.parquet")).to_pylist() == ROWS


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.parquet"])
def test_an_error_leaves_the_old_file(tmp_path, name):
    (tmp_path / name).write_text("old")
    with pytest.raises(ResourceError, match="the disk is full"), new_row_file(tmp_path / name, TYPES) as add:
        add(ROWS)
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


def test_write_rows_of_no_rows_writes_the_columns(tmp_path):
    assert write(tmp_path / "r.csv", []).read_text() == "n,x,t\n"
    assert pq.read_schema(write(tmp_path / "r.parquet", [])).names == ["n", "x", "t"]


JSON = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text("ab")


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(JSON, JSON), min_size=1, max_size=6))
def test_write_rows_as_parquet_holds_any_mixture_of_values(tmp_path_factory, values):
    rows = [{"a": a, "b": b} for a, b in values]
    types = types_of([{"a": [row["a"]], "b": [row["b"]]} for row in rows])
    path = tmp_path_factory.getbasetemp() / "mixed.parquet"
    found = pq.read_table(write(path, rows, types)).to_pylist()
    for row, kept in zip(rows, found, strict=True):
        for name, value in row.items():
            assert kept[name] == (None if value is None else types[name](value))


def test_types_of_follows_the_values():
    columns = {"i": [1, None], "f": [1, 0.5], "b": [True, False], "s": [1, "a"], "big": [2**63, 1], "none": [None]}
    assert types_of([columns]) == {"i": int, "f": float, "b": bool, "s": str, "big": str, "none": str}
    assert types_of([{"a": [1]}, {"a": ["x"]}]) == {"a": str}


def test_another_format_is_refused():
    with pytest.raises(UsageError, match=r"r\.xlsx: unknown file type; name the result \.csv, \.jsonl or \.parquet"):
        require_format("r.xlsx")
