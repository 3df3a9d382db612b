"""read_votes: labels of tables by key or by texts, and of the JSON of labelling tools; errors with the row."""

from __future__ import annotations

import json

import pytest
from review_queues import filled_queue, key_of

from flipkd.commands.review_votes import read_votes
from flipkd.errors import DataError
from flipkd.review import argilla, label_studio
from flipkd.review.queue import Vote


def votes(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_votes(str(path), annotator="file")


def test_read_votes_finds_pairs_by_their_texts_and_leaves_out_rows_without_a_label(tmp_path):
    rows = (
        "left 1,right 1,yes\nleft 2,right 2,\nleft 3, right  3,no match\nleft 4,right 4,SKIP\nleft 5,right 5,skipped\n"
    )
    assert votes(tmp_path / "a.csv", f"text1,text2,label\n{rows}") == [
        Vote(key_of(1), "file", 1),
        Vote(key_of(3), "file", 0),
        Vote(key_of(4), "file", None),
        Vote(key_of(5), "file", None),
    ]


def test_read_votes_prefers_the_key_and_the_annotator_of_a_row(tmp_path):
    content = "key,text1,text2,label,annotator\nk1,left 1,right 1,1,ann\nk2,,,0,\n"
    assert votes(tmp_path / "a.csv", content) == [Vote("k1", "ann", 1), Vote("k2", "file", 0)]
    line = json.dumps({"key": "k3", "label": True})
    assert votes(tmp_path / "a.jsonl", line + "\n") == [Vote("k3", "file", 1)]


def test_read_votes_reads_the_json_of_both_tools(tmp_path):
    with filled_queue(tmp_path / "q.db", count=2) as queue:
        pairs = sorted(queue.pairs(), key=lambda pair: pair.text1)
    [record, _] = argilla.records(pairs)
    record["responses"] = {"label": [{"value": "match", "user_id": "u"}]}
    assert votes(tmp_path / "a.json", [record]) == [Vote(key_of(0), "u", 1)]
    [_, task] = label_studio.tasks(pairs)
    task["annotations"] = [{"completed_by": "bob", "result": task["predictions"][0]["result"]}]
    assert votes(tmp_path / "a.json", [task]) == [Vote(key_of(1), "bob", 0)]


@pytest.mark.parametrize(
    "name, content, message",
    [
        (
            "a.csv",
            "text1,text2,label\na,b,1\nc,d,maybe\n",
            r"row 2 \(line 3\), column 'label': got 'maybe'; write match, ",
        ),
        ("a.csv", "text1,text2\na,b\n", "label"),
        ("a.csv", "text1,label\na,1\n", "text2"),
        ("a.json", '{"a": 1}', "is no JSON export of Label Studio or of Argilla"),
        ("a.json", "[]", "is no JSON export"),
        ("a.json", "[1, {}]", "is no JSON export"),
        ("a.json", '[{"a": 1}]', "is no JSON export"),
        ("a.json", "[{", "not readable as JSON"),
        ("a.json", "[" * 100_000, "not readable as JSON"),
        (
            "a.json",
            '[{"fields": {}, "responses": {"label": [1]}}]',
            "a part of the export is missing or of another type",
        ),
        ("a.json", '[{"annotation_id": 1, "label": "match"}]', "a part of the export is missing or of another type"),
        ("a.json", '[{"data": {}, "annotations": [{"was_cancelled": true}]}]', r"a part of the export .*KeyError"),
    ],
)
def test_read_votes_names_what_it_cannot_read(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message) as caught:
        votes(tmp_path / name, content)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("name", ["a.json", "a.csv"])
def test_read_votes_names_a_missing_file(tmp_path, name):
    with pytest.raises(DataError, match=rf"{name}: no such file"):
        read_votes(str(tmp_path / name), annotator="file")
