"""compare: what differs is counted and named; truncated pairs count apart; few pairs have no bound of Spearman."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_matchers import PAIRS, TABLE

from flipkd.exports.compare import LEAST_PAIRS, compare, reference
from flipkd.exports.formats import EXACT, ROUNDED
from flipkd.matcher import Matcher

LONG = ("pin " * 80, "my card")
ROWS = [*PAIRS, LONG]


class Changed:
    """A scorer that gives the expected scores and ids, with changes."""

    reads_pairs = True
    truncates_each_text = False

    def __init__(self, expected, *, scores=None, ids=None):
        self.found = expected.scores if scores is None else scores
        self.ids = expected.pair_ids if ids is None else ids

    def token_ids(self, left, right):
        return self.ids

    def scores(self, left, right):
        return self.found


@pytest.fixture(scope="module")
def matcher(tiny_matcher):
    return Matcher.from_pretrained(tiny_matcher())


@pytest.fixture(scope="module")
def expected(matcher):
    return reference(matcher, ROWS, dtype="float32")


def test_compare_finds_nothing_beyond_where_all_is_equal(matcher, expected):
    labels = np.array([*TABLE.label, 0, 1, 0])
    found = compare(expected, Changed(expected), matcher, bounds=EXACT, labels=labels)
    assert found.beyond == []
    assert (found.pairs, found.truncated, found.ids_equal, found.flipped) == (63, 1, 62, 0)
    assert (found.largest_difference, found.spearman) == (0, 1)
    assert found.average_precision["matcher"] == found.average_precision["export"]
    assert found.noise is None


def test_compare_names_other_ids_a_difference_and_the_ranks(matcher, expected):
    scores, ids = expected.scores.copy(), [list(row) for row in expected.pair_ids]
    scores[:30] = scores[29::-1]
    ids[3][0] += 1
    found = compare(expected, Changed(expected, scores=scores, ids=ids), matcher, bounds=EXACT)
    assert found.ids_equal == 61
    assert found.largest_difference == pytest.approx(np.abs(scores - expected.scores).max())
    assert [sentence.split(" ")[1] for sentence in found.beyond] == ["token", "largest", "is"]
    assert found.average_precision is None
    decisions = zip(matcher.decisions(scores), expected.decisions, strict=True)
    assert found.flipped == sum(a != b for a, b in decisions) > 0


def test_a_truncated_pair_counts_apart_unless_each_text_is_truncated_alone(matcher, expected):
    scores = expected.scores.copy()
    scores[-1] += 0.5
    scorer = Changed(expected, scores=scores)
    found = compare(expected, scorer, matcher, bounds=EXACT)
    assert found.largest_difference_truncated == pytest.approx(0.5)
    assert (found.spearman, found.beyond) == (1, [])
    scorer.truncates_each_text = True
    assert compare(expected, scorer, matcher, bounds=EXACT._replace(spearman=0.9)).beyond != []


def test_scores_that_are_not_finite_are_beyond(matcher, expected):
    scores = expected.scores.copy()
    scores[0] = np.nan
    found = compare(expected, Changed(expected, scores=scores), matcher, bounds=EXACT)
    assert found.spearman == 0
    assert "difference of scores is nan" in found.beyond[0]


def test_few_pairs_have_no_bound_of_spearman(matcher):
    few = reference(matcher, PAIRS[:8], dtype="float32")
    assert len(few.scores) < LEAST_PAIRS
    wide = ROUNDED._replace(difference=100.0)
    assert compare(few, Changed(few, scores=few.scores[::-1].copy()), matcher, bounds=wide).beyond == []


def test_the_reference_of_sixteen_bits_has_its_own_noise(make_student, tmp_path):
    from flipkd.files import new_folder

    student, contract = make_student(dtype="bfloat16")
    with new_folder(tmp_path / "m") as folder:
        student.save(folder, contract)
    matcher = Matcher.from_pretrained(tmp_path / "m")
    noisy = reference(matcher, PAIRS[:20], dtype="bfloat16")
    assert noisy.noise is not None
    assert noisy.noise.spearman > 0.9
    exact = reference(matcher, PAIRS[:20], dtype="float32")
    assert exact.noise is None
    assert 0 < np.abs(exact.scores - noisy.scores).max() < 0.1
