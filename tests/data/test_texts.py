"""read_texts: the right column, unchanged texts, every error with its location."""

import pytest

from flipkd.data.texts import read_texts
from flipkd.errors import DataError


def write(folder, text, name="faq.csv"):
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder / name


def test_read_texts_with_other_columns(tmp_path):
    file = write(tmp_path, 'id,Question,answer\n007,"Where, exactly?",NA\n8, NA ,\n')
    texts, kept = read_texts(file, keep=["id", "answer", "id"])
    assert texts == ["Where, exactly?", " NA "]
    assert kept == {"id": ["007", "8"], "answer": ["NA", ""]}


def test_read_texts_uses_the_only_column_or_the_named_one(tmp_path):
    assert read_texts(write(tmp_path, "odd name\na\nb\n"))[0] == ["a", "b"]
    assert read_texts(write(tmp_path, "text,body\na,b\n"), column="body")[0] == ["b"]
    assert read_texts(write(tmp_path, "text,body\na,b\n"), column="body", keep=["text"])[1] == {"text": ["a"]}


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
