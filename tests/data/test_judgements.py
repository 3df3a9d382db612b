"""Collections and judgements: columns by name, ids unique, errors with the row."""

import pytest

from flipkd.data.judgements import DOCUMENT_IDS, QUERY_IDS, read_collection, read_judgements
from flipkd.errors import DataError


def written(tmp_path, text, name="a.tsv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_read_collection_has_texts_by_id(tmp_path):
    assert read_collection(written(tmp_path, "query_id\ttext\n1\tone\n2\ttwo\n"), ids=QUERY_IDS) == {
        "1": "one",
        "2": "two",
    }
    lines = '{"_id": "7", "title": "", "text": "seven"}\n'
    file = written(tmp_path, lines.replace('"title": "", ', ""), "b.jsonl")
    assert read_collection(file, ids=DOCUMENT_IDS) == {"7": "seven"}


def test_judgements_keep_their_grade(tmp_path):
    file = written(tmp_path, "query-id\tcorpus-id\tscore\nq\ta\t2\nq\tb\t0\nr\ta\t1\n")
    assert read_judgements(file) == {"q": {"a": 2.0, "b": 0.0}, "r": {"a": 1.0}}


@pytest.mark.parametrize(
    "text, message",
    [
        ("query_id\ttext\n1\tone\n1\ttwo\n", "row 2: the id '1' occurs twice"),
        ("query_id\ttext\n\tone\n", "row 1, column query_id: the id is missing"),
        ("name\ttext\n1\tone\n", "has no column of the names query_id"),
        ("query_id\tid\ttext\n1\t2\tone\n", "has several columns of the names query_id"),
    ],
)
def test_read_collection_refuses_a_wrong_collection(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_collection(written(tmp_path, text), ids=QUERY_IDS)


@pytest.mark.parametrize(
    "row, message", [("q\ta\t-1", "got '-1'"), ("q\ta\thigh", "got 'high'"), ("q\ta\t1\nq\ta\t1", "judged twice")]
)
def test_read_judgements_refuses_a_wrong_judgement(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read_judgements(written(tmp_path, f"query_id\tdoc_id\trelevance\n{row}\n"))
