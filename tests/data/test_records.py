"""read_records: texts of one column or several, other columns, ids, and errors with their location."""

from __future__ import annotations

import json

import pytest

from flipkd.data.records import read_records, read_texts, unique_rows
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


def test_read_texts_with_other_columns(tmp_path):
    file = write(tmp_path, 'id,Question,answer\n007,"Where, exactly?",NA\n8, NA ,\n')
    texts, kept = read_texts(file, keep=["id", "answer", "id"])
    assert texts == ["Where, exactly?", " NA "]
    assert kept == {"id": ["007", "8"], "answer": ["NA", ""]}


def test_read_texts_uses_the_only_column_or_the_named_one(tmp_path):
    assert read_texts(write(tmp_path, "odd name\na\nb\n"))[0] == ["a", "b"]
    assert read_texts(write(tmp_path, "text,body\na,b\n"), column="body")[0] == ["b"]
    assert read_texts(write(tmp_path, "text,body\na,b\n"), column="body", keep=["text", "body"])[1] == {"text": ["a"]}


def test_read_texts_keeps_parquet_columns_of_any_type(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"number": [3, 4], "text": ["a", "b"]}), tmp_path / "faq.parquet")
    assert read_texts(tmp_path / "faq.parquet", keep=["number"]) == (["a", "b"], {"number": [3, 4]})
    with pytest.raises(DataError, match="column 'number' has type int64"):
        read_texts(tmp_path / "faq.parquet", column="number")


def test_read_texts_refuses_a_lone_surrogate_and_a_missing_text(tmp_path):
    for line, word in (
        ('{"text": "a\\ud800"}', "lone surrogate"),
        ('{"text": null}', "the text is missing"),
    ):
        with pytest.raises(DataError, match=rf"row 1 \(line 1\), column 'text': .*{word}"):
            read_texts(write(tmp_path, line + "\n", name="faq.jsonl"))


def test_read_texts_converts_other_columns_to_json(tmp_path):
    file = write(tmp_path, '{"text": "a", "tags": ["x", "y"], "more": {"k": true}}\n', name="faq.jsonl")
    assert read_texts(file, keep=["tags", "more"])[1] == {"tags": ['["x", "y"]'], "more": ['{"k": true}']}


@pytest.mark.parametrize(
    ("content", "settings", "word"),
    [
        ("a,b\nx,y\n", {}, "no known text column; name it text, or choose it with --text"),
        ("text,question\nx,y\n", {}, "several possible text columns"),
        ("text,b\nx,y\n", {"column": "texts"}, "did you mean 'text'"),
        ("text,b\nx,y\n", {"keep": ["c"]}, "has no column 'c'"),
        ("text,b\nx,y\n \u200b,z\n", {}, r"row 2 \(line 3\), column 'text': the text is empty"),
        ("text,b\n", {}, "has a header line but no rows"),
    ],
)
def test_read_texts_errors_have_row_and_column(tmp_path, content, settings, word):
    with pytest.raises(DataError, match=word):
        read_texts(write(tmp_path, content), **settings)
