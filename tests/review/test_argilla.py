"""Argilla: records for from_json, and the votes of to_json."""

import json

import pytest
from review_queues import filled_queue, key_of

from flipkd.errors import DataError
from flipkd.review import argilla
from flipkd.review.queue import Vote

# The keys that argilla 2.8 reads in Record.from_dict; a suggestion and a response become keyword arguments.
RECORD = {"id", "fields", "metadata", "suggestions", "responses", "vectors"}
SUGGESTION = {"value", "score", "agent"}


@pytest.fixture
def records(tmp_path):
    with filled_queue(tmp_path / "q.db", count=2) as queue:
        return json.loads(json.dumps(argilla.records(sorted(queue.pairs(), key=lambda pair: pair.text1))))


def test_records_have_the_keys_that_argilla_reads(records):
    for record in records:
        assert record.keys() == RECORD
        assert record["suggestions"]["label"].keys() == SUGGESTION
        assert record["fields"].keys() == {"text1", "text2"}
    assert records[0]["id"] == key_of(0)
    assert records[0]["suggestions"]["label"] == {"value": "no_match", "score": 0.7, "agent": "flipkd-m1"}


def test_votes_of_all_users_are_read(records):
    first = records[0] | {
        "responses": {"label": [{"value": "match", "user_id": "u1"}, {"value": "no_match", "user_id": "u2"}]}
    }
    assert argilla.is_export(first)
    assert list(argilla.votes([first, records[1]])) == [Vote(key_of(0), "u1", 1), Vote(key_of(0), "u2", 0)]
    with pytest.raises(DataError, match="a response of Argilla: got 'maybe'"):
        list(argilla.votes([records[0] | {"responses": {"label": [{"value": "maybe", "user_id": "u1"}]}}]))
