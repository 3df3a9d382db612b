"""The sequential test: exact against plain loops, right under daily peeking, and able to find a difference."""

import numpy as np
import pytest

from flipkd.watch.sequential import MOST_BET, sequential_test, treatment_scores


def draw(seed, count, *, rate=0.3, difference=0.0, share=0.5):
    generator = np.random.default_rng(seed)
    treated = generator.random(count) < share
    outcome = (generator.random(count) < np.where(treated, rate + difference, rate)).astype(float)
    return treatment_scores(outcome, treated, share=share)


def capital_in_loops(scores, difference, *, share, alpha):
    """Greatest capital of the bets on a larger mean than `difference`."""
    bound, capital, best = max(1 / share, 1 / (1 - share)) + 1, 1.0, 1.0
    variance, mean = 1.0, 0.0
    for number, score in enumerate(scores, 1):
        bet = min(np.sqrt(2 * np.log(2 / alpha) / (variance * number * np.log(1 + number))), MOST_BET / bound)
        capital *= 1 + bet * (score - difference)
        best = max(best, capital)
        earlier = scores[:number]
        means = [np.sum(scores[:k]) / (k + 1) for k in range(number)]
        variance = (1.0 + np.sum((earlier - means) ** 2)) / (number + 1)
        mean = np.sum(earlier) / (number + 1)
    return best, mean


def test_treatment_scores_have_the_mean_of_the_difference():
    outcome, treated = np.array([1.0, 0.0, 1.0]), np.array([True, False, False])
    # Means of the earlier outcomes, with half an outcome more: 1/2, 1.5/2, 1.5/3.
    expected = [0.5 / 0.25, 0.75 / 0.75, -0.5 / 0.75]
    assert treatment_scores(outcome, treated, share=0.25) == pytest.approx(expected)
    assert draw(0, 40_000, difference=0.1).mean() == pytest.approx(0.1, abs=0.02)


def test_the_interval_ends_where_the_capital_reaches_its_limit():
    scores = draw(1, 120, difference=0.4)
    found = sequential_test(scores, share=0.5, alpha=0.1)
    best, _ = capital_in_loops(scores, found.low, share=0.5, alpha=0.1)
    assert best == pytest.approx(2 / 0.1, rel=1e-6)
    best, _ = capital_in_loops(-scores, -found.high, share=0.5, alpha=0.1)
    assert best == pytest.approx(2 / 0.1, rel=1e-6)
    best, _ = capital_in_loops(scores, 0.0, share=0.5, alpha=0.1)
    assert found.p_value == pytest.approx(min(1, 2 / best))


@pytest.mark.parametrize("share, rate", [(0.5, 0.3), (0.1, 0.3), (0.5, 0.02)])
def test_sequential_test_after_every_outcome_finds_nothing_more_often_than_stated(share, rate):
    runs, alpha = 150, 0.1
    found = [
        sequential_test(draw(seed, 1000, rate=rate, share=share), share=share, alpha=alpha) for seed in range(runs)
    ]
    assert np.mean([one.decided_at is not None for one in found]) <= alpha + 0.03
    assert all((one.low <= 0 <= one.high) == (one.decided_at is None) for one in found)


def test_sequential_test_finds_a_difference_which_its_interval_holds():
    found = [sequential_test(draw(seed, 2000, difference=0.12), share=0.5, alpha=0.05) for seed in range(40)]
    assert np.mean([one.decided_at is not None for one in found]) >= 0.9
    assert np.mean([one.low <= 0.12 <= one.high for one in found]) >= 0.95
    assert all(one.low > 0 for one in found if one.decided_at)


def test_sequential_test_knows_nothing_before_the_first_outcome():
    found = sequential_test(np.zeros(0), share=0.5, alpha=0.05)
    assert (found.low, found.high, found.p_value, found.decided_at) == (-1.0, 1.0, 1.0, None)
