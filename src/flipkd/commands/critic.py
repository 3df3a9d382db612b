"""Critic of generated pairs: a calibrated teacher, or the generator itself under several questions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flipkd.command_config import GenerateConfig
from flipkd.commands.matcher_teacher import TrainingTeacher, open_teacher
from flipkd.commands.pairs import labelled, trainable_pairs
from flipkd.data.labels import labels_of
from flipkd.errors import ConfigError
from flipkd.evaluate.calibration import fit_calibration
from flipkd.generate import prompts
from flipkd.generate.filters import accepted, critic_precision
from flipkd.progress import loading

if TYPE_CHECKING:
    from flipkd.generate.endpoint import Endpoint

logger = logging.getLogger(__name__)


def teacher_of(config: GenerateConfig) -> TrainingTeacher:
    """Open the teacher of the settings. Raises ConfigError when it has no vectors, which nearest texts need."""
    teacher = open_teacher(str(config.teacher), validation=None)
    if teacher.kind != "bi_encoder":
        raise ConfigError(
            f"{config.teacher}: the teacher is a {teacher.kind}, which has no vectors; give a bi-encoder"
        )
    return teacher


class Critic:
    """Judge of pairs by the probability of a match; a teacher is calibrated, and its precision logged, on validation pairs."""

    def __init__(self, config: GenerateConfig, endpoint: Endpoint) -> None:
        self.config, self.endpoint = config, endpoint
        self.bounds = {"match_from": config.match_from, "mismatch_up_to": config.mismatch_up_to}

    def judge(self, rows: list[dict[str, Any]]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Return a mask [N] of the rows to keep, and the probability of a match [N] of each."""
        left, right = [row["text1"] for row in rows], [row["text2"] for row in rows]
        by_teacher = self.config.critic == "teacher"
        probability = self._by_teacher(left, right) if by_teacher else self._by_endpoint(left, right)
        label = np.array([row["label"] for row in rows], np.int64)
        return accepted(probability, label, **self.bounds), probability

    def _by_teacher(self, left: list[str], right: list[str]) -> NDArray[np.float64]:
        config = self.config
        loading(config.teacher)
        known = trainable_pairs(str(config.validation_file), columns=config.columns, name="validation")
        known = labelled(known, name="validation")
        teacher, label = open_teacher(str(config.teacher), validation=known), labels_of(known)
        scores = teacher.signal(known).pair_scores()
        fit = fit_calibration(scores, label, method="sigmoid")
        precision = critic_precision(fit.apply(scores), label, **self.bounds)
        shown = ", ".join(f"{value:.1%} of the pairs kept as {name}" for name, value in precision.items())
        logger.warning("critic: on validation it is right on %s", shown or "no pair: its bounds keep none")
        return fit.apply(teacher.pair_signal(left, right).pair_scores())

    def _by_endpoint(self, left: list[str], right: list[str]) -> NDArray[np.float64]:
        """Return the mean answer to several questions [N]; an unreadable one counts as half a yes."""
        asked = [prompts.judgement(a, b, q) for a, b in zip(left, right, strict=True) for q in prompts.JUDGEMENTS]
        replies = self.endpoint.replies(asked, label="critic")
        answers = [prompts.parse_yes(reply or "") for reply in replies]
        numbers = np.array([0.5 if answer is None else answer for answer in answers], np.float64)
        return np.asarray(numbers.reshape(len(left), -1).mean(axis=1), np.float64)
