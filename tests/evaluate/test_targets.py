"""Target: accepted texts, fitted thresholds, refused texts."""

import pytest

from flipkd.errors import ConfigError, DataError
from flipkd.evaluate import Target, best_threshold, threshold_for

SCORES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
LABELS = [0, 0, 1, 0, 1, 0, 1, 1]


@pytest.mark.parametrize(
    "words, same",
    [
        ("f1", best_threshold(SCORES, LABELS)),
        ("accuracy", best_threshold(SCORES, LABELS, metric="accuracy")),
        ("precision=0.75", threshold_for(SCORES, LABELS, precision=0.75)),
        (" recall = 0.5 ", threshold_for(SCORES, LABELS, recall=0.5)),
    ],
)
def test_target_parse_and_fit(words, same):
    assert Target.parse(words).fit(SCORES, LABELS) == same


def test_target_of_a_number_is_a_fixed_threshold():
    found = Target.parse("-1e-3").fit(SCORES, LABELS)
    assert (found.value, found.metric) == (-0.001, "f1")
    assert found.reached == pytest.approx(2 * 4 / (8 + 4))  # all predicted


@pytest.mark.parametrize(
    "words",
    ["", "f2", "f1=0.5", "precision", "precision=", "precision=0", "recall=1.1", "recall=x", "nan", "inf", "=1"],
)
def test_target_parse_refuses_other_texts(words):
    with pytest.raises(ConfigError, match="allowed: f1, accuracy, precision=P or recall=R"):
        Target.parse(words)


@pytest.mark.scenario("N8")
@pytest.mark.parametrize("words", ["f1", "recall=0.9", "0.5"])
def test_target_fit_refuses_too_few_rows(words):
    with pytest.raises(DataError, match="not enough data"):
        Target.parse(words).fit([0.1, 0.2], [0, 1])
