"""average_precision and roc_auc against loops over rows, scikit-learn and values known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from flipkd.evaluate.ranking import average_precision, roc_auc


def simulated(seed):
    """Scores with ties and labels of both classes, 5 to 60 rows."""
    random = np.random.default_rng(seed)
    label = random.integers(0, 2, random.integers(5, 60))
    label[:2] = [0, 1]
    return random.integers(0, 12, len(label)).astype(float), label


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_and_roc_auc_agree_with_loops_and_scikit_learn(seed):
    score, label = simulated(seed)
    precision, recall = 0.0, 0.0
    for cut in sorted({*score}, reverse=True):
        above = label[score >= cut]
        precision, recall = precision + (above.sum() / label.sum() - recall) * above.mean(), above.sum() / label.sum()
    assert average_precision(score, label) == pytest.approx(precision, abs=1e-12)
    assert average_precision(score, label) == pytest.approx(metrics.average_precision_score(label, score), abs=1e-12)
    wins = [float(a > b) + 0.5 * float(a == b) for a in score[label == 1] for b in score[label == 0]]
    assert roc_auc(score, label) == pytest.approx(np.mean(wins), abs=1e-12)
    assert roc_auc(score, label) == pytest.approx(metrics.roc_auc_score(label, score), abs=1e-12)


def test_average_precision_and_roc_auc_of_a_perfect_a_reversed_and_a_constant_score():
    label = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    score = np.array([1e308, 3, 2, 1, 0, -1, -2, -3, -4, -1e308])
    assert average_precision(score, label) == roc_auc(score, label) == 1
    assert roc_auc(-score, label) == 0
    assert average_precision(-score, label) == pytest.approx((1 / 8 + 2 / 9 + 3 / 10) / 3)
    assert average_precision(np.zeros(10), label) == pytest.approx(0.3)
    assert roc_auc(np.zeros(10), label) == 0.5
