"""Scores put together: weights that separate better than either, a choice that validation makes, a tie to the first."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.errors import DataError, NumbersError
from flipkd.evaluate import choose_score, fit_weights, measure, weighted_sum

RANDOM = np.random.default_rng(0)
LABEL = RANDOM.integers(0, 2, 400)
NOISE = RANDOM.normal(size=(2, 400))
SCORES = {"answer": 3 * (LABEL + NOISE[0]), "cosine": 0.1 * (LABEL + NOISE[1])}


def test_two_equally_good_scores_get_weights_that_undo_their_scales():
    weights = fit_weights(SCORES, LABEL)
    assert weights["cosine"] / weights["answer"] == pytest.approx(30, rel=0.25)
    both = weighted_sum(SCORES, weights)
    precision = [measure(values, LABEL)["average_precision"] for values in (both, *SCORES.values())]
    assert precision[0] > max(precision[1:]) + 0.03
    assert both == pytest.approx(sum(weights[name] * SCORES[name] for name in SCORES))


def test_validation_chooses_alone_or_together():
    name, weights = choose_score(SCORES, LABEL)
    assert (name, set(weights)) == ("combined", {"answer", "cosine"})
    perfect = {"answer": LABEL.astype(float), "cosine": NOISE[0]}
    assert choose_score(perfect, LABEL) == ("answer", {"answer": 1.0})  # a tie goes to the first
    assert choose_score({"cosine": perfect["answer"], "answer": NOISE[0]}, LABEL)[0] == "cosine"
    assert choose_score({"answer": NOISE[0]}, LABEL) == ("answer", {"answer": 1.0})


def test_what_cannot_be_fitted():
    with pytest.raises(DataError):
        fit_weights({"answer": [1.0, 2.0]}, [1, 1])
    with pytest.raises(NumbersError):
        fit_weights({"answer": [1.0, float("nan"), 0.0, 0.0]}, [1, 1, 0, 0])
