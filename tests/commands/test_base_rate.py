"""The base rate of a calibration: the warning for another one, and the correction for a stated one."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.commands.base_rate import shift_contract, warn_of_base_rate
from flipkd.evaluate.calibration import Calibration
from flipkd.student.contract import BaseRate, ScoreContract


def labels(matches: int, pairs: int) -> np.ndarray:
    return np.arange(pairs) < matches


@pytest.mark.parametrize(
    "known, matches, warned",
    [
        (None, 3, False),
        (BaseRate(rate=0.5, pairs=200), 100, False),
        (BaseRate(rate=0.5, pairs=200), 40, True),
        (BaseRate(rate=0.5), 40, True),
        (BaseRate(rate=0.2), 40, False),
    ],
)
def test_warn_of_base_rate_needs_a_significant_difference(known, matches, warned, caplog):
    warn_of_base_rate(known, labels(matches, 200))
    assert ("give it as --base_rate" in caplog.text) is warned


def test_shift_contract_changes_log_odds_and_estimates_the_rates():
    contract = ScoreContract(
        base_model_name_or_path="llm",
        base_model_hash="h",
        dtype="float32",
        template={},
        label_ids=(1, 2),
        reading="joint",
        max_text_length=8,
        readout_places=["a"],
        calibration={"method": "sigmoid", "slope": 1.0, "intercept": 0.0},
        threshold=0.0,
    )
    scores, label = np.array([2.0, 1.0, -1.0, 1.0]), np.array([1, 1, 0, 0])
    shifted, rates = shift_contract(contract, scores, label, base_rate=0.1)
    assert shifted.base_rate == BaseRate(rate=0.1)
    assert Calibration(**shifted.calibration).apply([0.0])[0] == pytest.approx(
        0.1
    )  # 0.5 at the share 0.5 of the labels
    assert (rates["validation"], rates["stated"], rates["recall"]) == (0.5, 0.1, 1.0)
    assert rates["precision"] == pytest.approx(0.1 / (0.1 + 0.9 / 2))
