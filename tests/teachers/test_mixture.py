"""Weights per pair: equal ones are the mean of probabilities, a router and a policy find the teacher that knows a pair."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.errors import ConfigError
from flipkd.evaluate.calibration import Calibration
from flipkd.teachers.mixture import WEIGHTINGS, fit_mixture, policy_gradient

PLAIN = Calibration("sigmoid", 1.0, 0.0)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, float)))


def specialists(n=600, seed=0):
    """Teacher 0 knows the pairs of long texts, teacher 1 those of short ones; elsewhere each is sure and at chance."""
    random = np.random.default_rng(seed)
    label, long = random.integers(2, size=n), random.random(n) < 0.5
    guess = random.integers(2, size=(n, 2))
    knows = np.stack([long, ~long], axis=1)
    answer = np.where(knows, label[:, None], guess)
    texts = ["a long text, in many words" if one else "short" for one in long]
    return 3.0 * (2 * answer - 1), texts, label.astype(np.int64), knows


def fitted(weighting, scores, texts, label):
    return fit_mixture(scores, texts, texts, label, calibrations=[PLAIN] * scores.shape[1], weighting=weighting)


def test_the_mean_is_that_of_probabilities_and_not_of_log_odds():
    scores = np.array([[4.0, -1.0], [0.0, 2.0]])
    mixture = fitted("mean", scores, ["a", "b"], np.array([1, 0]))
    assert sigmoid(mixture.log_odds(scores, ["a", "b"], ["a", "b"])) == pytest.approx(sigmoid(scores).mean(axis=1))
    swapped = fitted("mean", scores[:, ::-1], ["a", "b"], np.array([1, 0]))
    assert swapped.log_odds(scores[:, ::-1], ["a", "b"], ["a", "b"]) == pytest.approx(
        mixture.log_odds(scores, ["a", "b"], ["a", "b"])
    )


@pytest.mark.parametrize("weighting", ["router", "policy"])
def test_mixture_fit_gives_each_pair_to_the_teacher_that_knows_it(weighting):
    scores, texts, label, knows = specialists()
    shares = fitted(weighting, scores, texts, label).shares(scores, texts, texts)
    assert shares.sum(axis=1) == pytest.approx(1.0)
    assert (shares[knows] > 0.75).mean() > 0.95


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_one_teacher_alone_and_equal_teachers_keep_their_score(weighting):
    scores, texts, label, _ = specialists(50)
    for columns in (scores[:, :1], scores[:, [0, 0]]):
        mixture = fitted(weighting, columns, texts, label)
        assert mixture.log_odds(columns, texts, texts) == pytest.approx(scores[:, 0])


def test_the_gradient_of_the_policy_is_that_of_the_expected_reward():
    random = np.random.default_rng(1)
    features, rewards = np.column_stack([random.normal(size=40), np.ones(40)]), random.normal(size=(40, 3)) - 5
    weights = random.normal(size=(2, 3)) * 0.1
    draws = np.stack([policy_gradient(features, rewards, weights, random) for _ in range(3000)])
    logits = features @ weights
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    exact = features.T @ (shares * (rewards - (shares * rewards).sum(axis=1, keepdims=True))) / 40
    assert np.abs(draws.mean(axis=0) - exact).max() < 5 * draws.std(axis=0).max() / np.sqrt(3000)


def test_an_unknown_weighting_is_an_error():
    with pytest.raises(ConfigError, match="allowed is mean, router, policy"):
        fitted("best", *specialists(10)[:3])
