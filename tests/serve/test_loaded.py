"""Loaded: results of the model's thread, with token counts and truncated flags; a search needs an index."""

import numpy as np
import pytest

from flipkd.errors import DataError
from flipkd.matcher import Matcher
from flipkd.serve.loaded import Loaded

LONG = "card " * 500


@pytest.fixture
def loaded(make_student):
    return Loaded(Matcher(*make_student(reading="separate")))


def test_loaded_score_has_tokens_and_truncated_flag_of_each_pair(loaded):
    (score, cut, tokens), (_, long_cut, long_tokens) = loaded.score(
        [("my card", "my pin"), (LONG, "my pin")], batch_size=2
    )
    assert score == pytest.approx(float(loaded.matcher.predict([("my card", "my pin")])[0]), abs=1e-5)
    assert (cut, long_cut) == (False, True)
    assert 0 < tokens < long_tokens


def test_encode_texts_has_tokens_and_truncated_flag_of_each_text(loaded):
    (vector, cut, tokens), (_, long_cut, _) = loaded.encode_texts(["my card", LONG], batch_size=2)
    np.testing.assert_allclose(vector, loaded.matcher.encode(["my card"])[0], atol=1e-5)
    assert (cut, long_cut) == (False, True)
    assert tokens > 0


def test_encode_for_index_needs_an_index(loaded):
    with pytest.raises(DataError, match="start it with --index"):
        loaded.encode_for_index(["my card"])
