"""Index in memory: exact nearest neighbours as by brute force, ties by position, saving and loading."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.errors import ArtefactError, DataError, ResourceError, UsageError
from flipkd.files import write_manifest
from flipkd.index import Index

ENCODER = {"kind": "teacher", "folder": "/t", "fingerprint": "f"}


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make(count, width=6, *, seed=0, distinct=None):
    vectors = unit(np.random.default_rng(seed).normal(size=(distinct or count, width)))
    vectors = vectors[np.arange(count) % len(vectors)]
    return Index([{"text": f"text {i}", "id": i} for i in range(count)], vectors, encoder=ENCODER)


@pytest.mark.scenario("S16", "L13", "N5")
@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 9), st.integers(1, 60))
def test_nearest_equals_brute_force_with_ties_by_position(count, top_k, seed, distinct):
    index = make(count, seed=seed, distinct=min(distinct, count))
    query = unit([np.random.default_rng(seed + 100).normal(size=6)])[0]
    cosines = [float((row.astype(np.float64) * query).sum()) for row in index.vectors]
    expected = sorted(range(count), key=lambda i: (-cosines[i], i))[:top_k]
    found = index.nearest(query, top_k=top_k)
    assert [position for position, _ in found] == expected
    assert [cosine for _, cosine in found] == pytest.approx([cosines[i] for i in expected], abs=1e-12)


@pytest.mark.parametrize(("count", "width"), [(1003, 384), (50, 768)])
def test_copies_of_a_text_have_one_cosine_and_keep_their_order(count, width):
    random = np.random.default_rng(0)
    [vector, query] = random.normal(size=(2, width)).astype(np.float32)
    vector, query = vector / np.linalg.norm(vector), query / np.linalg.norm(query)
    index = Index([{"text": "a"}] * count, np.tile(vector, (count, 1)), encoder={})
    found = index.nearest(query, top_k=20)
    assert [position for position, _ in found] == list(range(20))
    assert len({cosine for _, cosine in found}) == 1


def test_nearest_and_index_check_their_arguments():
    index = make(3)
    assert len(index.nearest(index.vectors[0], top_k=10**9)) == 3
    with pytest.raises(UsageError, match="top_k is 0"):
        index.nearest(index.vectors[0], top_k=0)
    with pytest.raises(UsageError, match="width 6"):
        index.nearest(np.ones(5, np.float32), top_k=1)
    with pytest.raises(DataError, match="3 entries"):
        Index(index.entries, index.vectors[:2], encoder=ENCODER)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@settings(deadline=None)  # it writes and syncs files
@given(st.lists(st.dictionaries(texts, st.none() | st.integers() | st.booleans() | texts), max_size=8))
def test_save_and_load_return_the_same_index(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("index") / "here"
    entries = [row | {"text": f"line\nbreak\u2028 {i}"} for i, row in enumerate(rows)]
    vectors = unit(np.random.default_rng(0).normal(size=(len(rows), 4))) if rows else np.zeros((0, 4), np.float32)
    index = Index(entries, vectors, encoder=ENCODER)
    index.save(folder)
    back = Index.load(folder)
    assert back.entries == entries
    assert back.encoder == ENCODER
    np.testing.assert_array_equal(back.vectors, vectors)
    with pytest.raises(ResourceError, match="exists already"):
        index.save(folder)
    Index(entries[:0], vectors[:0], encoder=ENCODER).save(folder, replace=True)
    assert len(Index.load(folder)) == 0


@pytest.mark.parametrize("file", ["index.json", "entries.jsonl", "vectors.safetensors"])
def test_load_refuses_a_damaged_folder_also_with_a_valid_manifest(tmp_path, file):
    make(4).save(tmp_path / "index")
    content = (tmp_path / "index" / file).read_bytes()
    (tmp_path / "index" / file).write_bytes(content[:-3])
    with pytest.raises(ArtefactError, match="sha256 mismatch"):
        Index.load(tmp_path / "index")
    write_manifest(tmp_path / "index")  # a valid manifest of damaged content
    with pytest.raises(ArtefactError, match="not"):
        Index.load(tmp_path / "index")


@pytest.mark.parametrize("encoder", [True, "name", 1.5, None, [1]])
def test_load_refuses_a_header_of_another_form(tmp_path, encoder):
    Index([{"text": "a"}], np.eye(1, dtype=np.float32), encoder=ENCODER).save(tmp_path / "i")
    header = json.loads((tmp_path / "i/index.json").read_text())
    (tmp_path / "i/index.json").write_text(json.dumps(header | {"encoder": encoder}))
    write_manifest(tmp_path / "i")
    with pytest.raises(ArtefactError, match="not an index of flipkd"):
        Index.load(tmp_path / "i")


def test_load_refuses_other_folders(tmp_path):
    with pytest.raises(ArtefactError, match="flipkd index"):
        Index.load(tmp_path)
    with pytest.raises(ArtefactError, match="no such folder"):
        Index.load(tmp_path / "nowhere")
    make(2).save(tmp_path / "index")
    header = json.loads((tmp_path / "index" / "index.json").read_text())
    (tmp_path / "index" / "index.json").write_text(json.dumps(header | {"format": 99}))
    write_manifest(tmp_path / "index")
    with pytest.raises(ArtefactError, match="format 99"):
        Index.load(tmp_path / "index")
