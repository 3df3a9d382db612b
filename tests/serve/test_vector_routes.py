"""Vectors and cosines of single texts."""

import base64

import numpy as np
import pytest


def test_similarity_is_the_cosine_with_each_sentence(null):
    found = null.request("/similarity", {"inputs": {"source_sentence": "aa", "sentences": ["b", "bbb"]}})
    assert found.json == [2.0, 6.0], "the vectors of the null matcher are as long as their texts"


@pytest.mark.parametrize("dimensions", [1, 1.0])
def test_dimensions_cut_vectors_in_each_format(null, dimensions):
    assert null.request("/embed", {"inputs": ["a", "bb"], "dimensions": dimensions}).json == [[1.0], [1.0]]
    body = {"input": "bb", "dimensions": dimensions, "encoding_format": "base64"}
    [row] = null.request("/v1/embeddings", body).json["data"]
    assert np.frombuffer(base64.b64decode(row["embedding"]), "<f4").tolist() == [1.0]
