"""Loaded: results of the model's thread, with token counts and truncated flags; a search needs an index."""

import numpy as np
import pytest

from flipkd.errors import DataError
from flipkd.matcher import Matcher
from flipkd.serve.loaded import Loaded
from flipkd.student.prompt import CHARACTERS_PER_TOKEN

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


def test_clipped_texts_have_the_scores_of_whole_texts_also_of_the_kept_teacher(with_teacher):
    loaded = Loaded(Matcher.from_pretrained(with_teacher))
    matcher, prompt = loaded.matcher, loaded.matcher.student.prompt
    prompt.max_text_length = 4
    texts = ["my card " * 10 + end for end in ("is lost", "pin")]
    assert prompt.max_text_length * CHARACTERS_PER_TOKEN < 80  # so that only the teacher reads the ends
    clipped = [loaded.clip(text) for text in texts]
    assert [is_longer for _, is_longer in clipped] == [False, False]
    pairs, cut = [(text, "my pin") for text in texts], [(start, "my pin") for start, _ in clipped]
    scores = matcher.predict(pairs)
    assert scores[0] != scores[1]
    assert matcher.predict(cut).tolist() == scores.tolist()
    assert [was_cut for _, was_cut, _ in loaded.score(cut, batch_size=2)] == [True, True]
    assert len(loaded.clip("a" * 100_000)[0]) == matcher.teacher.most_characters
