"""Kinds of student scores: their sum, and the means over both orders."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from flipkd.comparison.scores import Split
from flipkd.comparison.student_scores import combined


def test_combined_is_a_logistic_fit_on_validation():
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 60)
    answer, cosine = random.normal(size=60) + label, random.normal(size=60) * 100 + 50 * label
    scores = {"answer": Split(answer, answer[:5]), "cosine": Split(cosine, cosine[:5])}
    found = combined(scores, label)
    assert found.test == pytest.approx(found.validation[:5])
    columns = np.column_stack([answer, cosine])
    columns = (columns - columns.mean(0)) / columns.std(0)
    expected = LogisticRegression().fit(columns, label).decision_function(columns)
    assert np.diff(found.validation) == pytest.approx(np.diff(expected), abs=1e-3)  # all but the intercept


def test_student_scores_applies_the_same_weights_to_both_orders():
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 60)
    given = {kind: Split(random.normal(size=60) + label, random.normal(size=5)) for kind in ("answer", "cosine")}
    turned = {kind: Split(random.normal(size=60), random.normal(size=5)) for kind in given}
    found, other = combined(given, label), combined(given, label, applied_to=turned)
    both = {kind: Split((given[kind].validation + turned[kind].validation) / 2, np.zeros(5)) for kind in given}
    mean = combined(given, label, applied_to=both)
    assert np.abs(other.validation - found.validation).max() > 0.1
    assert mean.validation == pytest.approx((found.validation + other.validation) / 2)
