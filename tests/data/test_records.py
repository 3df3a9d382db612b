"""read_records: texts of one column or several, other columns, ids, and errors with their location."""

from __future__ import annotations

import json

import pytest

from flipkd.data.records import read_records, unique_rows
from flipkd.errors import DataError


def write(folder, text, name="r.csv"):
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder / name


def test_read_records_reads_one_column_byte_for_byte(tmp_path):
    records = read_records(write(tmp_path, "id,title,brand\n7, A  b ,x\n8,c,\n"), columns=["brand", "title", "id"])
    assert records.texts == [" A  b ", "c"]
    assert records.columns == {"brand": ["x", ""], "title": [" A  b ", "c"], "id": ["7", "8"]}
    assert records.keys("brand") == ["x", None]


def test_several_columns_are_joined_without_the_empty_ones(tmp_path):
    rows = [{"title": "Phone", "price": 9.5, "new": None}, {"price": 3, "title": " "}, {"title": "x", "new": True}]
    file = write(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), name="r.jsonl")
    records = read_records(file, text=["title", "price", "new"], columns=["price"])
    assert records.texts == ["title: Phone; price: 9.5", "price: 3", "title: x; new: True"]
    assert records.columns == {"price": [9.5, 3, None]}


@pytest.mark.parametrize(
    ("text", "settings", "word"),
    [
        ("a,b\nx,y\n", {}, "no known text column; name it text, or choose it with --text"),
        ("a,b\nx,y\n", {"text": ["a", "c"]}, "has no column 'c'"),
        ("a,b\nx,y\n,\u200b\n", {"text": ["a", "b"]}, r"row 2 \(line 3\), column 'a\+b': the text is empty"),
        ("a,b\nx,y\n,z\n", {"text": ["a"]}, r"row 2 \(line 3\), column 'a': the text is empty"),
        ("a,b\nx,y\n1,z\0\n", {"text": ["a", "b"]}, r"row 2 \(line 3\), column 'a\+b': NUL character"),
        ("a,b\n", {"text": ["a", "b"]}, "has a header line but no rows"),
        ("a,a\nx,y\n", {"text": ["a"]}, "duplicate column name 'a'"),
    ],
)
def test_read_records_errors_name_the_location(tmp_path, text, settings, word):
    with pytest.raises(DataError, match=word):
        read_records(write(tmp_path, text), **settings)


def test_unique_rows_refuses_ids_that_repeat_or_are_empty(tmp_path):
    records = read_records(write(tmp_path, "id,text\na,x\nb,y\n"), columns=["id"])
    assert unique_rows(records, "id") == {"a": 0, "b": 1}
    for rows, word in (
        ("a,x\nb,y\na,z\n", "is in rows 1 and 3"),
        ("a,x\n ,y\n", "row 2, column 'id': the id is empty"),
    ):
        records = read_records(write(tmp_path, f"id,text\n{rows}"), columns=["id"])
        with pytest.raises(DataError, match=word):
            unique_rows(records, "id")
