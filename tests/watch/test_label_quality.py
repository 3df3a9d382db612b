"""Quality on labels: the figures of scikit-learn and of evaluate, inside their intervals."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss
from watch.drifting import draw

from flipkd.evaluate import expected_calibration_error
from flipkd.watch.label_quality import label_quality
from flipkd.watch.rows import ScoredRows


def test_label_quality_figures_are_those_of_the_labelled_rows():
    rows = draw(0, 300, labelled=0.5)
    known = rows.label >= 0
    found = label_quality(rows)
    assert found["rows"] == known.sum()
    assert found["brier_score"] == pytest.approx(brier_score_loss(rows.label[known], rows.probability[known]))
    assert found["ece"] == expected_calibration_error(rows.probability[known], rows.label[known])
    assert found["brier_interval"][0] < found["brier_score"] < found["brier_interval"][1]
    assert found["base_rate"] == (rows.label[known] == 1).mean()


def test_label_quality_is_none_without_labels_or_probabilities():
    assert label_quality(ScoredRows(score=np.zeros(3))) is None
    assert label_quality(ScoredRows(score=np.zeros(3), probability=np.full(3, 0.5))) is None
    assert label_quality(ScoredRows(score=np.zeros(3), label=np.ones(3, np.int64))) is None


@pytest.mark.parametrize("slope", [1.0, 0.6])
def test_the_interval_of_the_ece_holds_the_truth(slope):
    # P(match) is 0.5 + slope (p - 0.5) for p uniform in [0, 1], so the true ECE is (1 - slope) / 4.
    draw, held, truth = np.random.default_rng(0), 0, (1 - slope) / 4
    for _ in range(15):
        p = draw.random(200)
        label = (draw.random(200) < 0.5 + slope * (p - 0.5)).astype(np.int64)
        found = label_quality(ScoredRows(score=p, probability=p, label=label))
        low, high = found["ece_interval"]
        assert 0 <= low <= found["ece"] <= high
        held += low <= truth <= high
    assert held >= 12
