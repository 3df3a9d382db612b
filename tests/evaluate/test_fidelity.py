"""fidelity: 1 and 0 for the teacher against itself, and the numbers of a case by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flipkd.errors import NumbersError
from flipkd.evaluate.fidelity import fidelity


def test_fidelity_of_a_teacher_to_itself_is_full():
    p = np.random.default_rng(0).random(50)
    assert fidelity(p, p) == pytest.approx({"agreement": 1.0, "kl": 0.0, "loyalty": 1.0, "spearman": 1.0})


def test_fidelity_of_two_pairs_by_hand():
    found = fidelity([0.5, 0.25], [0.75, 0.75])
    kl = (0.75 * math.log(1.5) + 0.25 * math.log(0.5) + 0.75 * math.log(3) + 0.25 * math.log(1 / 3)) / 2

    def bits(p, q):
        middle = (p + q) / 2
        terms = [(x, m) for x, m in ((p, middle), (1 - p, 1 - middle), (q, middle), (1 - q, 1 - middle))]
        return sum(x * math.log2(x / m) for x, m in terms) / 2

    assert found["agreement"] == 0.5
    assert found["kl"] == pytest.approx(kl)
    assert found["loyalty"] == pytest.approx(1 - (math.sqrt(bits(0.5, 0.75)) + math.sqrt(bits(0.25, 0.75))) / 2)
    assert math.isnan(found["spearman"])


def test_fidelity_of_opposite_answers_is_lowest_and_finite():
    found = fidelity([1.0, 0.0], [0.0, 1.0])
    assert (found["agreement"], found["spearman"]) == (0.0, pytest.approx(-1.0))
    assert found["loyalty"] == pytest.approx(0.0, abs=1e-2)
    assert found["kl"] == pytest.approx(math.log(1e6), rel=1e-2)


def test_fidelity_ranks_probabilities_that_are_all_near_1():
    p = 1 - np.logspace(-7, -12, 30)
    assert fidelity(p, p)["spearman"] == pytest.approx(1.0)
    assert fidelity(p, p[::-1])["spearman"] == pytest.approx(-1.0)


def test_fidelity_refuses_numbers_that_are_not_finite():
    with pytest.raises(NumbersError):
        fidelity([math.nan], [0.5])
