"""Critic of generated pairs: a calibrated teacher, or the generator itself under several questions."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.command_config import GenerateConfig
from flipkd.commands.matcher_teacher import calibrated_teacher
from flipkd.generate import prompts
from flipkd.generate.endpoint import Endpoint
from flipkd.generate.filters import accepted, critic_precision

logger = logging.getLogger(__name__)


def judge(
    rows: list[dict[str, Any]], config: GenerateConfig, endpoint: Endpoint
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return a mask [N] of the rows to keep, and the probability of a match [N] of each.

    A teacher is calibrated, and its precision logged, on validation pairs.
    """
    left, right = [row["text1"] for row in rows], [row["text2"] for row in rows]
    label = np.array([row["label"] for row in rows], np.int64)
    bounds = {"match_from": config.match_from, "mismatch_up_to": config.mismatch_up_to}
    if config.critic != "teacher":
        probability = _by_endpoint(left, right, endpoint)
        return accepted(probability, label, **bounds), probability
    teacher, fit, scores, known = calibrated_teacher(
        str(config.teacher), str(config.validation_file), columns=config.columns
    )
    precision = critic_precision(fit.apply(scores), known, **bounds)
    shown = ", ".join(f"{value:.1%} of the pairs kept as {name}" for name, value in precision.items())
    logger.warning("critic: on validation it is right on %s", shown or "no pair: its bounds keep none")
    probability = fit.apply(teacher.pair_signal(left, right).pair_scores())
    return accepted(probability, label, **bounds), probability


def _by_endpoint(left: list[str], right: list[str], endpoint: Endpoint) -> NDArray[np.float64]:
    """Return the mean answer to several questions [N]; an unreadable one counts as half a yes."""
    asked = [prompts.judgement(a, b, q) for a, b in zip(left, right, strict=True) for q in prompts.JUDGEMENTS]
    replies = endpoint.replies(asked, label="critic")
    answers = [prompts.parse_yes(reply or "") for reply in replies]
    numbers = np.array([0.5 if answer is None else answer for answer in answers], np.float64)
    return np.asarray(numbers.reshape(len(left), -1).mean(axis=1), np.float64)
