"""Experiments: rates, intervals that count clients, and the sample ratio."""

import numpy as np
import pytest
from scipy.stats import chisquare

from flipkd.evaluate.decisions import share_interval
from flipkd.watch.experiment import analyse, sample_ratio


def test_rates_and_difference_of_independent_outcomes():
    treated = np.arange(400) % 2 == 1
    outcome = (np.arange(400) % 5 < np.where(treated, 3, 2)).astype(np.int64)
    found = analyse(outcome, treated, np.arange(400), share=0.5, alpha=0.05)
    assert (found["control"]["rate"], found["treatment"]["rate"]) == (0.4, 0.6)
    assert found["difference"]["value"] == pytest.approx(0.2)
    low, high = found["control"]["low"], found["treatment"]["high"]
    assert (low, high) == pytest.approx((share_interval(80, 200)[0], share_interval(120, 200)[1]))
    assert found["difference"]["high"] - 0.2 == pytest.approx(1.96 * np.sqrt((0.24 + 0.24) / 200), rel=0.05)
    assert found["sequential"]["clients"] == 400


def test_the_interval_of_a_difference_is_that_of_newcombes_first_example():
    treated = np.arange(150) < 70
    outcome = np.concatenate([np.arange(70) < 56, np.arange(80) < 48]).astype(np.int64)
    found = analyse(outcome, treated, np.arange(150), share=0.5, alpha=0.05)["difference"]
    assert (found["value"], found["low"], found["high"]) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_analyse_makes_the_interval_no_smaller_by_a_client_who_comes_often():
    treated, client = np.arange(100) % 2 == 1, np.arange(100)
    outcome = (np.arange(100) % 3 == 0).astype(np.int64)
    once = analyse(outcome, treated, client, share=0.5, alpha=0.05)
    often = analyse(*(np.tile(column, 10) for column in (outcome, treated, client)), share=0.5, alpha=0.05)
    for part in ("control", "treatment", "difference"):
        few, many = (found[part]["high"] - found[part]["low"] for found in (once, often))
        assert few <= many == pytest.approx(few, rel=0.02)
    assert often["sequential"] == once["sequential"]  # the first outcome of each client only


def test_intervals_of_clients_who_differ_hold_the_truth_as_often_as_they_say():
    draw, held = np.random.default_rng(0), np.zeros(2)
    for _ in range(300):
        rates = draw.beta(0.6, 1.4, 80)  # of 0.3 in the mean
        client = np.repeat(np.arange(80), 12)
        outcome = (draw.random(960) < rates[client]).astype(np.int64)
        found = analyse(outcome, client % 2 == 1, client, share=0.5, alpha=0.05)
        held += [
            found[part]["low"] <= truth <= found[part]["high"] for part, truth in (("control", 0.3), ("difference", 0))
        ]
    assert held / 300 == pytest.approx(0.95, abs=0.035)


@pytest.mark.parametrize("success", [0, 1])
@pytest.mark.parametrize("visits", [1, 50])
def test_no_interval_is_a_point_where_all_outcomes_are_equal(success, visits):
    treated, client = np.arange(20) % 2 == 1, np.arange(20)
    columns = (np.repeat(column, visits) for column in (np.full(20, success), treated, client))
    found = analyse(*columns, share=0.5, alpha=0.05)
    low, high = share_interval(10 * success, 10)  # ten clients, however often they came
    assert (found["control"]["low"], found["control"]["high"]) == pytest.approx((low, high))
    assert (found["difference"]["low"], found["difference"]["high"]) == pytest.approx((low - high, high - low))


def test_one_client_has_the_widest_intervals():
    found = analyse(np.array([0, 1] * 20), np.arange(40) >= 20, np.repeat([0, 1], 20), share=0.5, alpha=0.05)
    assert (found["control"]["low"], found["control"]["high"]) == pytest.approx(share_interval(0.5, 1))
    assert found["difference"]["high"] - found["difference"]["low"] > 1


def test_analyse_dates_a_decision_by_the_outcome_that_made_it():
    treated = np.arange(600) % 2 == 1
    client = np.repeat(np.arange(300), 2)
    outcome = treated.repeat(1).astype(np.int64)
    found = analyse(outcome[::2].repeat(2), treated[:300].repeat(2), client, share=0.5, alpha=0.05)
    assert found["sequential"]["decided_at_outcome"] is None  # no success at all
    found = analyse(treated[:300].repeat(2).astype(np.int64), treated[:300].repeat(2), client, share=0.5, alpha=0.05)
    decided = found["sequential"]["decided_at_outcome"]
    assert decided is not None
    assert decided % 2 == 1  # a first outcome of a client
    assert decided < 200


def test_the_sample_ratio_is_that_of_the_chi_square_test():
    found = sample_ratio(480, 1000, share=0.5)
    assert found["p_value"] == pytest.approx(chisquare([480, 520]).pvalue)
    assert (found["share"], found["mismatch"]) == (0.48, False)
    assert sample_ratio(400, 1000, share=0.5)["mismatch"]
    assert not sample_ratio(100, 1000, share=0.1)["mismatch"]
