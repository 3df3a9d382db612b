"""Drift: each synthetic drift raises its alarm, and data without drift raise one no more often than stated."""

import numpy as np
import pytest
from watch.drifting import CYRILLIC, OTHER_WORDS, draw, embed

from flipkd.errors import UsageError
from flipkd.watch.drift import LEAST_EFFECTS, compare, judge
from flipkd.watch.rows import ScoredRows

NONE = dict.fromkeys(LEAST_EFFECTS, 0.0)


@pytest.fixture(scope="module")
def reference():
    return draw(0, 600)


def alarms_of(reference, window, **settings):
    [checks] = judge([compare(reference, window, embed=embed, resamples=4999)], alpha=0.01, together=True, **settings)
    return {check.name for check in checks if check.alarm}


@pytest.mark.parametrize(
    "drift, found",
    [
        ({"longer": 2}, {"text1_length", "text2_length"}),
        ({"words": OTHER_WORDS}, {"text1_new_words", "text2_new_words", "text1_distance", "text2_distance"}),
        ({"words": CYRILLIC}, {"script", "text1_new_words", "text2_new_words"}),
        ({"score_shift": 0.6}, {"score", "score_bins", "calibration"}),
        ({"base_rate": 0.2}, {"score", "score_bins", "base_rate"}),
        ({"slope": 0.35}, {"overconfidence"}),
        ({"agreement": 0.0}, {"disagreement"}),
    ],
    ids=["longer texts", "other topic", "other language", "shifted scores", "base rate", "miscalibrated", "teacher"],
)
def test_a_drift_is_found_by_its_checks(reference, drift, found):
    assert found <= alarms_of(reference, draw(1, 500, **drift))


def test_without_drift_there_is_no_alarm(reference):
    assert alarms_of(reference, draw(2, 500)) == set()


@pytest.mark.slow
def test_false_alarms_are_no_more_frequent_than_stated():
    alpha, runs = 0.2, 30
    pairs = [
        (draw(2 * seed, 200), draw(2 * seed + 1, [120, 150, 250][seed % 3], labelled=0.6)) for seed in range(runs)
    ]
    checks = [compare(*pair, embed=embed, resamples=199) for pair in pairs]
    judged = [judge([found], alpha=alpha, together=True, least_effects=NONE)[0] for found in checks]
    assert sum(any(check.alarm for check in found) for found in judged) <= 10  # 6 are expected at most
    every = np.array([[check.p_value for check in found] for found in checks])
    assert every.shape == (runs, len(LEAST_EFFECTS))
    assert (every <= 0.1).mean() <= 0.13


def test_judge_corrects_for_all_windows_or_for_each(reference):
    windows = [compare(reference, draw(seed, 200)) for seed in (3, 4)]
    together, alone = (judge(windows, alpha=0.01, together=both) for both in (True, False))
    smallest = min((check for checks in windows for check in checks), key=lambda check: check.p_value)
    count = sum(map(len, windows))

    def adjusted(judged):
        [found] = [c for checks in judged for c in checks if (c.name, c.p_value) == (smallest.name, smallest.p_value)]
        return found.p_adjusted

    assert adjusted(together) == pytest.approx(min(1, count * smallest.p_value))
    assert adjusted(alone) == pytest.approx(min(1, len(windows[0]) * smallest.p_value))


def test_a_small_effect_is_no_alarm_however_significant(reference):
    checks = compare(reference, draw(1, 500, longer=2), resamples=199)

    def found(**least):
        [judged] = judge([checks], alpha=0.01, together=True, least_effects=least)
        return {check.name for check in judged if check.alarm}

    assert found() == {"text1_length", "text2_length"}
    assert found(text1_length=0.99) == {"text2_length"}
    with pytest.raises(UsageError, match="no check is called 'text_length'; did you mean 'text2_length'"):
        found(text_length=1.0)


def test_compare_does_not_check_columns_that_are_not_there(reference):
    bare = ScoredRows(score=reference.score)
    assert [check.name for check in compare(bare, draw(1, 100))] == [
        "score",
        "score_bins",
        "calibration",
        "overconfidence",
    ]
    assert [check.name for check in compare(reference, bare)] == ["score", "score_bins"]
    assert compare(reference, draw(1, 29)) == []


def test_compare_takes_a_reference_without_labels_as_calibrated(reference):
    unlabelled = ScoredRows(score=reference.score, probability=reference.probability)
    found = {check.name: check for check in compare(unlabelled, draw(1, 400, slope=0.35), resamples=1999)}
    assert found["overconfidence"].p_value < 0.01
    assert found["overconfidence"].window > 0
    fine = {check.name: check for check in compare(unlabelled, draw(3, 400), resamples=1999)}
    assert min(fine[name].p_value for name in ("calibration", "overconfidence")) > 0.01
