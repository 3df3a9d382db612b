"""read_pairs: columns and types of the table, and error messages."""

from __future__ import annotations

import subprocess
import sys

import datasets
import pytest

from flipkd.data.pairs import pairs_of, read_blocks, read_pairs, sides_of
from flipkd.errors import DataError

COLUMNS = "Question1,id,question2,is_duplicate,teacher_score,cluster\n"


def test_sides_of_and_pairs_of_give_the_texts_of_a_data_set(pairs_file):
    dataset = read_pairs(pairs_file("text1,text2\na,b\nc,d\n"))
    assert sides_of(dataset) == (["a", "c"], ["b", "d"])
    assert pairs_of(dataset) == [("a", "b"), ("c", "d")]


def test_read_pairs_column_names_order_and_types(pairs_file):
    dataset = read_pairs(pairs_file(COLUMNS + "a,1,b,yes,0.5,g\nc,2,d,,,\ne,3,f,0.0,-1e-3,007\n"))
    assert dataset.to_dict() == {
        "text1": ["a", "c", "e"],
        "text2": ["b", "d", "f"],
        "label": [1, None, 0],
        "score": [0.5, None, -0.001],
        "group": ["g", None, "007"],
    }
    assert [feature.dtype for feature in dataset.features.values()] == [
        "string",
        "string",
        "int64",
        "float64",
        "string",
    ]


def test_read_pairs_omits_missing_columns(pairs_file):
    assert read_pairs(pairs_file("text1,text2\na,b\n")).column_names == ["text1", "text2"]
    unlabelled = read_pairs(pairs_file("text1,text2,label\na,b,\n"))
    assert unlabelled["label"][:] == [None]
    assert unlabelled.features["label"] == datasets.Value("int64")


def test_read_pairs_maps_columns(pairs_file):
    path = pairs_file("left,right,text1\na,b,c\n")
    assert read_pairs(path, columns={"text1": "right", "text2": "left"}).to_dict() == {"text1": ["b"], "text2": ["a"]}


def test_read_pairs_keeps_empty_texts_and_row_numbers(pairs_file):
    assert read_pairs(pairs_file("text1,text2\n,b\n  ,\u200b\n"))["text1"][:] == ["", "  "]


def test_read_pairs_fingerprint_depends_on_content(pairs_file):
    path = pairs_file(COLUMNS + "a,1,b,yes,0.5,g\n")
    assert read_pairs(path)._fingerprint == read_pairs(str(path))._fingerprint


@pytest.mark.parametrize(
    "row, message",
    [
        ("a,1,b,perhaps,,", "row 2 (line 3), column 'is_duplicate': got 'perhaps'; a label is 1 or 0"),
        ("a,1,b,-1,,", "column 'is_duplicate': got '-1'"),
        ("a,1,b,1,high,", "row 2 (line 3), column 'teacher_score': got 'high'; a score is a finite number"),
        ("a,1,b,1,,g\0", "row 2 (line 3), column 'cluster'"),
    ],
)
def test_read_pairs_reports_invalid_cells_with_row_and_column(pairs_file, row, message):
    path = pairs_file(COLUMNS + "a,1,b,1,,\n" + row + "\n")
    with pytest.raises(DataError) as caught:
        read_pairs(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_read_pairs_errors_with_braces_and_long_values(pairs_file):
    path = pairs_file("text1,text2,{0}\na,b," + "secret " * 1000 + "\n", name="{pairs}.csv")
    with pytest.raises(DataError) as caught:
        read_pairs(path, columns={"label": "{0}"})
    assert "{pairs}.csv: row 1 (line 2), column '{0}': got 'secret" in str(caught.value)
    assert len(str(caught.value)) < 400


ONE_CLASS = """
import sys
import flipkd.data
assert not {"datasets", "pyarrow", "numpy"} & set(sys.modules)
from flipkd.data.check import check_pairs, require_trainable
from flipkd.data.pairs import read_pairs
try:
    require_trainable(check_pairs(read_pairs(sys.argv[1])))
except ValueError as error:
    print(error)
assert "torch" not in sys.modules
assert "transformers" not in sys.modules
"""


def test_read_pairs_and_check_pairs_need_no_torch(pairs_file):
    path = pairs_file("text1,text2,label\na,b,1\nc,d,1\n")
    command = [sys.executable, "-c", ONE_CLASS, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "only one class: all 2 labelled rows are 1" in done.stdout


def test_read_blocks_keeps_other_columns_unchanged(tmp_path):
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {"when": [datetime.date(2026, 1, 2), None], "text1": ["a", "b"], "n": [7, 8], "text2": ["c", "d"]}
    )
    pq.write_table(table, tmp_path / "p.parquet")
    [block] = read_blocks(tmp_path / "p.parquet", keep=["n", "when", "text2"])
    assert (block.left, block.right) == (["a", "b"], ["c", "d"])
    assert block.kept == {"n": [7, 8], "when": ["2026-01-02", None], "text2": ["c", "d"]}
    (tmp_path / "p.jsonl").write_text('{"text1": "a", "text2": "b", "id": "007", "more": [1], "half": "\\ud800"}\n')
    [block] = read_blocks(tmp_path / "p.jsonl", keep=["more", "id", "half"])
    assert block.kept == {"more": ["[1]"], "id": ["007"], "half": ["\\ud800"]}
    with pytest.raises(DataError, match="has no column 'idd'; did you mean 'id'"):
        next(read_blocks(tmp_path / "p.jsonl", keep=["idd"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text1": "a", "text2": 1}', "column 'text2': 1 is a int"),
        ('{"text1": "a\\u0000", "text2": "b"}', "NUL character at position 2"),
        ('{"text1": "\\ud800", "text2": "b"}', "lone surrogate"),
        ('{"text1": "a"}', "no text columns found"),
    ],
)
def test_read_blocks_refuses_what_read_pairs_refuses(tmp_path, content, message):
    (tmp_path / "p.jsonl").write_text(content + "\n")
    for read in (read_pairs, lambda path: list(read_blocks(path))):
        with pytest.raises(DataError) as caught:
            read(tmp_path / "p.jsonl")
        assert message in str(caught.value)
