"""Scores of a run on disk: round trip, and rejection of damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flipkd.comparison.scores import (
    Split,
    read_scores,
    result_path,
    save_scores,
    scores_path,
)
from flipkd.errors import ArtefactError

columns = arrays(np.float64, st.integers(0, 9), elements=st.floats(allow_nan=False))


@given(
    kinds=st.dictionaries(st.sampled_from(["answer", "cosine", "combined"]), st.tuples(columns, columns), min_size=1)
)
@settings(deadline=None, max_examples=30)
def test_read_scores_round_trip(tmp_path_factory, kinds):
    path = tmp_path_factory.mktemp("scores") / "a.safetensors"
    save_scores(path, {name: Split(*pair) for name, pair in kinds.items()})
    found = read_scores(path)
    assert set(found) == set(kinds)
    for name, (validation, test) in kinds.items():
        np.testing.assert_array_equal(found[name].validation, validation)
        np.testing.assert_array_equal(found[name].test, test)


@pytest.mark.parametrize("length", [0, 7, 40, -1])
def test_read_scores_rejects_a_truncated_file(tmp_path, length):
    path = tmp_path / "a.safetensors"
    save_scores(path, {"answer": Split(np.arange(3.0), np.arange(2.0))})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArtefactError, match="delete the file and run the same command"):
        read_scores(path)


def test_read_scores_detects_one_flipped_bit(tmp_path):
    path = tmp_path / "a.safetensors"
    digest = save_scores(path, {"answer": Split(np.arange(3.0), np.arange(2.0))})
    whole = path.read_bytes()
    assert read_scores(path, sha256=digest)["answer"].test.tolist() == [0, 1]
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(ArtefactError, match=r"a.safetensors: sha256 mismatch.*delete the file"):
            read_scores(path, sha256=digest)


def test_scores_path_is_next_to_results():
    path = result_path("c", "pairs", "minus_mcl", 2)
    assert path == Path("c/results/pairs-minus_mcl-seed2.json")
    assert scores_path(path) == Path("c/scores/pairs-minus_mcl-seed2.safetensors")
