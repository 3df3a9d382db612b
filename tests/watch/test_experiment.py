"""Experiments: rates, intervals that count clients, and the sample ratio."""

import numpy as np
import pytest
from scipy.stats import chisquare

from flipkd.watch.experiment import analyse, sample_ratio


def test_rates_and_difference_of_independent_outcomes():
    treated = np.arange(400) % 2 == 1
    outcome = (np.arange(400) % 5 < np.where(treated, 3, 2)).astype(np.int64)
    found = analyse(outcome, treated, np.arange(400), share=0.5, alpha=0.05)
    assert (found["control"]["rate"], found["treatment"]["rate"]) == (0.4, 0.6)
    assert found["difference"]["value"] == pytest.approx(0.2)
    half = 1.959964 * np.sqrt(
        (0.24 + 0.24) / 199
    )  # the variance of a share with n - 1, as each client has one outcome
    assert found["difference"]["high"] - 0.2 == pytest.approx(half, rel=1e-6)
    assert found["sequential"]["clients"] == 400


def test_analyse_makes_the_interval_no_smaller_by_a_client_who_comes_often():
    treated, client = np.arange(100) % 2 == 1, np.arange(100)
    outcome = (np.arange(100) % 3 == 0).astype(np.int64)
    once = analyse(outcome, treated, client, share=0.5, alpha=0.05)
    often = analyse(*(np.tile(column, 10) for column in (outcome, treated, client)), share=0.5, alpha=0.05)
    assert often["difference"] == pytest.approx(once["difference"])
    assert often["sequential"] == once["sequential"]  # the first outcome of each client only


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
