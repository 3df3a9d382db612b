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
