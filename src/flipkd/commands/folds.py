"""Out-of-fold scores: each labelled training pair is scored by a teacher fine-tuned without its fold."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.commands.pairs import content_hash
from flipkd.commands.tuning import finetune, load_finetuned
from flipkd.config import TeachConfig
from flipkd.data.folds import Folds, cut_folds
from flipkd.data.pairs import sides_of
from flipkd.teachers.store import ScoreStore
from flipkd.teachers.teacher import fingerprint_of, pair_scores

logger = logging.getLogger(__name__)
MODELS = "models"  # one model at a time, deleted after its fold is scored


def cross_fit(config: TeachConfig, pairs: Any, folder: Path, *, teacher: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Compute out-of-fold scores [N] of labelled pairs; also return the description of their cache.

    The model of a fold is fine-tuned like `teacher`, on the rows of the other folds. Scores are cached fold by fold, so that
    a stopped run resumes; the models are deleted.
    """
    folds = cut_folds(pairs, config.folds, seed=config.seed)
    _tell(folds, len(pairs))
    description = {
        "name": "out of fold",
        "teacher": teacher.fingerprint,
        "folds": config.folds,
        "apart_by": folds.apart_by,
        "pairs": content_hash(pairs),
        "cut": hashlib.sha256(folds.number.astype("<i8").tobytes()).hexdigest(),
    }
    store = ScoreStore(folder, fingerprint=fingerprint_of(description), describe=description)
    scores = np.zeros(len(pairs), np.float32)
    for number in range(config.folds):
        inside = np.flatnonzero(folds.number == number)
        rest = pairs.select(np.flatnonzero(folds.number != number))
        own, model = pairs.select(inside), folder / MODELS / f"fold-{number}"
        scores[inside] = store.cached_scores(*sides_of(own), _scorer(config, rest, model))
        shutil.rmtree(model, ignore_errors=True)
    shutil.rmtree(folder / MODELS, ignore_errors=True)
    return scores, {"fingerprint": store.fingerprint, **description, "stored": len(store)}


def _scorer(config: TeachConfig, pairs: Any, folder: Path) -> Callable[[list[str], list[str]], np.ndarray]:
    """Return the function that scores pairs by a teacher, which is fine-tuned on `pairs` at the first call."""

    @cache
    def load() -> Any:
        logger.info("%s: fine-tuning on the %d pairs of the other folds", folder.name, len(pairs))
        return load_finetuned(config, finetune(config, pairs, folder))

    def score(left: list[str], right: list[str]) -> np.ndarray:
        """Return scores [N], float32."""
        return pair_scores(load(), left, right)

    return score


def _tell(folds: Folds, rows: int) -> None:
    if folds.apart_by == "texts":
        return
    apart = "only pairs" if folds.apart_by == "pairs" else f"only the texts of {folds.apart_by}"
    logger.warning(
        "folds: one block of connected texts has too many of the %d training pairs, so the folds separate %s; %d pairs have "
        "a text that is also in the training pairs of their fold's model",
        rows,
        apart,
        folds.seen,
    )
