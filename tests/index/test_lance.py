"""LanceIndex: hits as by brute force, with filters, from the newest version; approximate hits of a large index."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lance_writer import COLUMNS, ROWS, WIDTH, batch, make, vectors

from flipkd.errors import ArtefactError, ConfigError, NumbersError, UsageError
from flipkd.files import write_manifest
from flipkd.index import Index, lance, open_index
from flipkd.index.lance import LanceIndex
from flipkd.index.writing import compact, upsert

COUNT = 60


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same entries in an index in memory and in one of LanceDB."""
    entries = [
        {"id": f"{row:02}", "text": f"text {row}", "language": ["en", "de", None][row % 3], "price": row / 2}
        for row in range(COUNT)
    ]
    numbers = vectors(COUNT, seed=3)
    columns = {"language": "text", "price": "float"}
    living = LanceIndex.create(
        tmp_path_factory.mktemp("lance") / "index", entries, numbers, encoder={"kind": "k"}, columns=columns
    )
    return Index(entries, numbers, encoder={}), living


@pytest.mark.scenario("S16", "L13")
@pytest.mark.parametrize("top_k", [1, 7, COUNT, 10**6])
def test_hits_of_a_small_index_are_those_of_brute_force(both, top_k):
    memory, living = both
    for query in vectors(5, seed=11):
        expected, found = memory.hits(query, top_k=top_k), living.hits(query, top_k=top_k)
        assert [hit.key["id"] for hit in found] == [f"{hit.key['corpus_id']:02}" for hit in expected]
        np.testing.assert_allclose([h.similarity for h in found], [h.similarity for h in expected], atol=1e-6)
        assert [hit.key | hit.entry for hit in found] == [hit.entry for hit in expected]


@pytest.mark.parametrize(
    "where, fulfils",
    [
        ("language = 'en'", lambda e: e["language"] == "en"),
        ("Language IN ('de', 'it''s') AND price >= -1", lambda e: e["language"] == "de"),
        ("language is null or not (price < 20)", lambda e: e["language"] is None or e["price"] >= 20),
        ("price between 3 and 1e1 and lower(`text`) like 'text%'", lambda e: 3 <= e["price"] <= 10),
        ("contains(id, '7') or starts_with(id, '2')", lambda e: "7" in e["id"] or e["id"][0] == "2"),
    ],
)
def test_lance_index_applies_a_filter_before_the_search(both, where, fulfils):
    memory, living = both
    query = vectors(1, seed=12)[0]
    expected = [hit.entry["id"] for hit in memory.hits(query, top_k=COUNT) if fulfils(hit.entry)]
    assert [hit.key["id"] for hit in living.hits(query, top_k=5, where=where)] == expected[:5]
    assert {entry["id"] for entry in living.entries(where=where)} == set(expected)


def test_lance_index_hits_names_a_wrong_query(both):
    memory, living = both
    query = vectors(1, seed=1)[0]
    with pytest.raises(UsageError, match="top_k is 0"):
        living.hits(query, top_k=0)
    with pytest.raises(UsageError, match=f"width {WIDTH}"):
        living.hits(query[:3], top_k=1)
    with pytest.raises(NumbersError, match="not finite"):
        living.hits(query * np.nan, top_k=1)
    for where in ("price = 'cheap'", "language", "price > 1 and", "lower(price) = 'x'"):
        with pytest.raises(ConfigError, match="the filter cannot be used"):
            living.hits(query, top_k=1, where=where)
    with pytest.raises(ConfigError, match="has no filters"):
        memory.hits(query, top_k=1, where="price = 1")


def test_known_vectors_are_those_with_the_same_text(both):
    memory, living = both
    asked = [{"id": "03", "text": "text 3"}, {"id": "04", "text": "changed"}, {"id": "x'y", "text": "new"}]
    known = living.known_vectors(asked)
    assert list(known) == ["03"]
    np.testing.assert_array_equal(known["03"], memory.vectors[3])
    assert living.known_vectors([]) == {}


@pytest.mark.scenario("L13")
def test_a_large_index_has_a_vector_index_and_new_entries_are_found_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(lance, "APPROXIMATE_FROM", 1000)
    numbers = vectors(1500, seed=5)
    entries = [{"id": str(row), "text": "t"} for row in range(1500)]
    index = LanceIndex.create(tmp_path / "index", entries, numbers, encoder={}, columns={})
    assert [found.index_type for found in index.table.list_indices()] == ["IvfFlat"]
    exact = Index(entries, numbers, encoder={})
    found = 0
    for query in vectors(20, seed=6):
        best = {str(hit.key["corpus_id"]) for hit in exact.hits(query, top_k=10)}
        found += len(best & {hit.key["id"] for hit in index.hits(query, top_k=10)})
    assert found >= 0.95 * 200
    new = vectors(1, seed=77)
    upsert(index, [{"id": "new", "text": "t"}], new)
    assert index.scanned == 1
    assert index.hits(new[0], top_k=1)[0].key == {"id": "new"}
    compact(index, keep_days=0)
    assert index.scanned == 0
    assert index.hits(new[0], top_k=1)[0].key == {"id": "new"}
    assert open_index(tmp_path / "index").hits(new[0], top_k=1)[0].key == {"id": "new"}


def test_an_open_index_reads_what_another_handle_wrote(tmp_path):
    index = make(tmp_path / "index")
    other = open_index(tmp_path / "index")
    upsert(other, batch(1), vectors(ROWS, seed=1))
    assert len(index) == 2 * ROWS
    assert index.hits(vectors(ROWS, seed=1)[3], top_k=1)[0].key == {"id": "1-3"}


def test_create_refuses_columns_and_ids(tmp_path):
    entries, numbers = batch(0), vectors(ROWS, seed=0)
    for columns, word in (
        ({"score": "float"}, "has a field of that name"),
        ({"Text": "text"}, "has a field of that name"),
        ({"answer_id": "text"}, "has a field of that name"),  # of a row of /search
        ({"a.b": "text"}, "no dot"),
        ({"_rowid": "int"}, "does not begin with _"),
        ({"a": "text", "A": "text"}, "only in capitals"),
        ({"a": "date"}, "allowed: text, int"),
    ):
        with pytest.raises(UsageError, match=word):
            LanceIndex.create(tmp_path / "index", entries, numbers, encoder={}, columns=columns)
    assert not (tmp_path / "index").exists()


def test_lance_index_open_refuses_other_headers(tmp_path):
    make(tmp_path / "index")
    header = json.loads((tmp_path / "index/index.json").read_text())
    for change, word in (
        ({"format": 99}, "format 99"),
        ({"columns": COLUMNS | {"x": "int"}}, "columns of index.json"),
        ({"columns": {"x": "blob"}}, "the type 'blob' is unknown"),
        ({"columns": ["x"]}, "not the header of an index"),
        ({"encoder": None}, "not the header of an index"),
        ({"width": "wide"}, "LanceDB cannot use this index"),
        ({"width": 10**18}, "LanceDB cannot use this index"),
    ):
        (tmp_path / "index/index.json").write_text(json.dumps(header | change))
        write_manifest(tmp_path / "index")
        with pytest.raises(ArtefactError, match=word):
            open_index(tmp_path / "index")
    with pytest.raises(ArtefactError, match="open_index"):
        Index.load(tmp_path / "index")
