"""Request bodies of an index: what each field may be, and defaults."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from flipkd.index.filters import MOST_CHARACTERS
from flipkd.serve.index_shapes import DeleteBody, SearchBody, UpsertBody

LONG = "x" * (MOST_CHARACTERS + 1)


def test_search_body_has_defaults_and_reads_null_as_absent():
    found = SearchBody.model_validate({"query": "q", "top_k": None, "where": None, "model": "m", "user": 3})
    assert found.model_dump() == {"query": "q", "top_k": 5, "candidates": 20, "where": None, "model": "m", "user": 3}


def test_upsert_body_keeps_columns_and_an_entry_without_an_id():
    [first, second] = UpsertBody.model_validate(
        {"entries": [{"id": "a", "text": "t", "n": 1.5}, {"text": "u"}]}
    ).entries
    assert first.model_dump() == {"id": "a", "text": "t", "n": 1.5}
    assert second.model_dump() == {"id": None, "text": "u"}


def test_delete_body_has_no_ids_by_default():
    assert DeleteBody.model_validate({"where": "n = 1"}).model_dump() == {"ids": [], "where": "n = 1"}
    assert DeleteBody.model_validate({"ids": ["a"]}).model_dump() == {"ids": ["a"], "where": None}


@pytest.mark.parametrize(
    "body, values, place",
    [
        (SearchBody, {}, ("query",)),
        (SearchBody, {"query": "q", "top_k": 0}, ("top_k",)),
        (SearchBody, {"query": "q", "candidates": 100_001}, ("candidates",)),
        (SearchBody, {"query": "q", "where": LONG}, ("where",)),
        (SearchBody, {"query": "q", "texts": ["a"]}, ("texts",)),
        (UpsertBody, {}, ("entries",)),
        (UpsertBody, {"entries": []}, ("entries",)),
        (UpsertBody, {"entries": [{"id": "a"}]}, ("entries", 0, "text")),
        (UpsertBody, {"entries": [{"text": "a"}, {"id": 3, "text": "a"}]}, ("entries", 1, "id")),
        (UpsertBody, {"entries": [{"text": "a"}], "upsert": True}, ("upsert",)),
        (DeleteBody, {"ids": [3]}, ("ids", 0)),
        (DeleteBody, {"ids": "a"}, ("ids",)),
        (DeleteBody, {"where": LONG}, ("where",)),
    ],
)
def test_search_upsert_and_delete_body_name_a_wrong_field(body, values, place):
    with pytest.raises(ValidationError) as caught:
        body.model_validate(values)
    assert [error["loc"] for error in caught.value.errors()] == [place]


def test_upsert_body_stops_at_the_first_wrong_entry():
    with pytest.raises(ValidationError) as caught:
        UpsertBody.model_validate({"entries": [{}] * 1000})
    assert len(caught.value.errors()) == 1
