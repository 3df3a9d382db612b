"""all-MiniLM-L6-v2: the packaged model loads; other weights are refused."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from flipkd.errors import ArtefactError
from flipkd.models import MINILM, model_path


@pytest.mark.skipif(importlib.util.find_spec(MINILM) is None, reason="needs flipkd[demo]")
def test_model_path_of_minilm_is_the_packaged_model():
    from sentence_transformers import SentenceTransformer

    teacher = SentenceTransformer(model_path("all-MiniLM-L6-v2"), device="cpu")
    vectors = teacher.encode(["A man is eating.", "Somebody has a meal.", "Shares fell sharply on Monday."])
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_model_path_of_minilm_refuses_other_weights(install):
    install(MINILM, {"model/model.safetensors": b"something else"})
    with pytest.raises(ArtefactError, match="sha256 is"):
        model_path("all-MiniLM-L6-v2")
