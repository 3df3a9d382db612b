"""Critic of generated pairs: a calibrated teacher, or the generator itself under several questions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flipkd.command_config import GenerateConfig
from flipkd.commands.matcher_teacher import calibrated_teacher
from flipkd.generate import prompts
from flipkd.generate.filters import accepted, critic_precision

if TYPE_CHECKING:
    from flipkd.generate.endpoint import Endpoint

logger = logging.getLogger(__name__)


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
        teacher, fit, scores, label = calibrated_teacher(
            str(config.teacher), str(config.validation_file), columns=config.columns
        )
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
