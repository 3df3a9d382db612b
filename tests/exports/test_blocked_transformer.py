"""Blocked reading in sentence-transformers: a module of flipkd with the mask of that reading; the folder has no code."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers import CrossEncoder
from tiny_matchers import PAIRS, exported

from flipkd.exports.blocked_transformer import load_blocked
from flipkd.matcher import Matcher


@pytest.mark.parametrize("family", ["gemma3", "llama"])
def test_the_export_of_blocked_reading_has_its_own_module_and_no_code(tiny_matcher, tmp_path, family):
    folder = tiny_matcher(family, "blocked")
    exported(folder, tmp_path / "out", "sentence-transformers")
    expected = Matcher.from_pretrained(folder).predict_proba(PAIRS)
    np.testing.assert_allclose(load_blocked(tmp_path / "out", device="cpu").predict(PAIRS), expected, atol=1e-5)
    trusted = CrossEncoder(str(tmp_path / "out"), device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(trusted.predict(PAIRS, batch_size=5), expected, atol=1e-5)
    with pytest.raises(ValueError, match="trust_remote_code"):
        CrossEncoder(str(tmp_path / "out"), device="cpu")
    assert list((tmp_path / "out").rglob("*.py")) == []
