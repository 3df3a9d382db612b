"""Several teachers as one: their calibrated probabilities are mixed with weights per pair."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from flipkd.commands.matcher_teacher import FLAT, MatcherTeacher, TrainingTeacher, is_matcher, open_teacher
from flipkd.config import TrainConfig
from flipkd.data.labels import labels_of
from flipkd.data.pair_table import TeacherSignal
from flipkd.data.pairs import sides_of
from flipkd.errors import ConfigError
from flipkd.evaluate.calibration import Calibration, fit_calibration
from flipkd.teachers.mixture import Mixture, fit_mixture
from flipkd.teachers.stored_teacher import StoredTeacher

logger = logging.getLogger(__name__)


def require_teachers(config: TrainConfig) -> None:
    """Raise ArtefactError for a teacher folder that is none; nothing heavy is imported."""
    for folder in filter(None, (config.teacher, *config.other_teachers)):
        if not is_matcher(folder):
            StoredTeacher(folder)


def training_teacher(config: TrainConfig, *, validation: Any) -> TrainingTeacher | None:
    """Return the teacher of a training run, mixed with the others; None without one.

    Raises ConfigError for other teachers without a first one, and what `open_teacher` raises.
    """
    if config.teacher is None:
        if config.other_teachers:
            raise ConfigError(
                "other_teachers is set, but teacher is not; name the first teacher with --teacher FOLDER"
            )
        return None
    first = open_teacher(config.teacher, validation=validation)
    if not config.other_teachers:
        if config.teacher_weights != "mean":
            logger.warning("teacher_weights=%s has no effect without other_teachers", config.teacher_weights)
        return first
    others = [open_teacher(folder, validation=validation) for folder in config.other_teachers]
    for folder, other in zip(config.other_teachers, others, strict=True):
        if other.kind == "scores" and (first.kind == "bi_encoder" and config.mined_ratio != 0):
            raise ConfigError(
                f"other_teachers: {folder} has given scores and cannot score mined pairs; set mined_ratio to 0"
            )
    return MixedTeacher([first, *others], weighting=config.teacher_weights, validation=validation)


class MixedTeacher:
    """The first of `teachers` gives the vectors and the scale of the scores; all of them give the score of a pair.

    Calibrations and weights are fitted on the labelled pairs of `validation`. `weighting`: a key of
    `teachers.mixture.WEIGHTINGS`.
    """

    def __init__(self, teachers: Sequence[TrainingTeacher], *, weighting: str, validation: Any) -> None:
        self.teachers, self.weighting, self._validation = list(teachers), weighting, validation
        self.kind = self.teachers[0].kind
        self.fine_tuned = any(teacher.fine_tuned for teacher in self.teachers)
        parts = [weighting, *(teacher.fingerprint for teacher in self.teachers)]
        if self.folds is None:  # out-of-fold scores of some teachers are used too
            parts += [f"{number} {teacher.folds}" for number, teacher in enumerate(self.teachers) if teacher.folds]
        self.fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def first(self) -> TrainingTeacher:
        """The first teacher, which the matcher may keep."""
        return self.teachers[0]

    @property
    def folds(self) -> str | None:
        """Hash of the out-of-fold scores; None unless all teachers have some."""
        folds = [teacher.folds for teacher in self.teachers]
        known = [one for one in folds if one is not None]
        return hashlib.sha256("\n".join(known).encode()).hexdigest() if len(known) == len(folds) else None

    @cached_property
    def mixture(self) -> Mixture:
        """The calibrations and weights, fitted at the first use."""
        dataset = self._validation
        label = labels_of(dataset)
        rows = np.flatnonzero(label >= 0)
        scores = self._columns(teacher.signal(dataset) for teacher in self.teachers)[rows]
        calibrations = [fit_calibration(column, label[rows], method="sigmoid") for column in scores.T]
        if calibrations[0].slope * float(np.std(scores[:, 0])) < FLAT:
            raise ConfigError(
                "the first teacher is no better than chance on the validation pairs, so its scale cannot take the scores of "
                "the others; name a better one first"
            )
        left, right = ([side[row] for row in rows] for side in sides_of(dataset))
        return fit_mixture(scores, left, right, label[rows], calibrations=calibrations, weighting=self.weighting)

    @staticmethod
    def _columns(signals: Any) -> np.ndarray:
        return np.stack([signal.pair_scores().astype(np.float64) for signal in signals], axis=1)

    def signal(self, dataset: Any, *, out_of_fold: bool = False) -> TeacherSignal:
        """Teacher outputs for the pairs of a data set."""
        signals = [teacher.signal(dataset, out_of_fold=out_of_fold) for teacher in self.teachers]
        return self._mixed(signals, *sides_of(dataset))

    def pair_signal(self, left: Sequence[str], right: Sequence[str]) -> TeacherSignal:
        """Teacher outputs for the pairs (left_i, right_i)."""
        return self._mixed([teacher.pair_signal(left, right) for teacher in self.teachers], left, right)

    def _mixed(self, signals: list[TeacherSignal], left: Sequence[str], right: Sequence[str]) -> TeacherSignal:
        """Return the vectors of the first teacher and mixed scores on the scale of its scores."""
        first: Calibration = self.mixture.calibrations[0]
        log_odds = self.mixture.log_odds(self._columns(signals), left, right)
        masks = [signal.out_of_fold for signal in signals]
        known = [mask for mask in masks if mask is not None]
        return TeacherSignal(
            left=signals[0].left,
            right=signals[0].right,
            score=((log_odds - first.intercept) / first.slope).astype(np.float32),
            out_of_fold=np.logical_and.reduce(known) if len(known) == len(masks) else None,
        )

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors [n, d] of the first teacher, which must be a bi-encoder."""
        return self.teachers[0].vectors(texts)

    def kept_signal(self, dataset: Any) -> TeacherSignal | None:
        """Outputs of the first teacher, or of the teacher that it keeps: what the new matcher may keep."""
        first = self.first
        return first.kept_signal(dataset) if isinstance(first, MatcherTeacher) else first.signal(dataset)

    def close(self) -> None:
        """Free the memory of teachers that are matchers."""
        for teacher in self.teachers:
            if isinstance(teacher, MatcherTeacher):
                teacher.close()
