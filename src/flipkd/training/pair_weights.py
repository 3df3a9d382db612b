"""Weights of pairs, for every objective: a pair of weight w changes the student w times as much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from flipkd.data.pair_table import PairTable
from flipkd.errors import ConfigError
from flipkd.training.thresholds import teacher_calibration


def trust_weights(table: PairTable, validation: PairTable) -> NDArray[np.float32]:
    """Return [N] the teacher's calibrated probability of the label of each pair of `table`; 1 for an unlabelled pair."""
    if table.teacher is None or validation.teacher is None:
        raise ConfigError("pair_weights=trust needs a teacher: give --teacher FOLDER, or set pair_weights to equal")
    calibration = teacher_calibration(table, validation)
    log_odds = calibration.slope * table.teacher.pair_scores() + calibration.intercept
    of_label = np.where(table.label == 1, log_odds, -log_odds)
    return np.where(table.label >= 0, expit(of_label), 1.0).astype(np.float32)


def weigh_gradients(weight: Tensor, tensors: Sequence[Tensor | None]) -> None:
    """Multiply the gradient of row i of each tensor [N, ...] by weight [N] in the backward pass; values do not change."""
    for tensor in tensors:
        if tensor is not None and tensor.requires_grad:
            shape = (len(weight), *[1] * (tensor.dim() - 1))
            scaled = weight.reshape(shape).to(tensor.dtype)
            tensor.register_hook(lambda gradient, scaled=scaled: gradient * scaled)  # type: ignore[no-untyped-call]
