"""Out-of-fold scores: each labelled training pair is scored by a teacher that was fine-tuned without it."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.commands.pairs import content_hash
from flipkd.commands.tuning import fine_tuned, load_tuned
from flipkd.config import TeachConfig
from flipkd.data import Folds, cut_folds
from flipkd.teachers.store import ScoreStore
from flipkd.teachers.teacher import VectorTeacher, fingerprint_of

logger = logging.getLogger(__name__)
MODELS = "models"  # one after the other, each only until its fold is scored


def cross_fit(config: TeachConfig, pairs: Any, folder: Path, *, teacher: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Out-of-fold scores [N] of labelled pairs, and what tells where they are kept.

    The members of a fold are made like `teacher`, from the rows of the other folds. Scores are stored part by part, so that
    a stopped run goes on; the models are deleted.
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
        member = _Member(config, rest, folder / MODELS / f"fold-{number}", store)
        own = pairs.select(inside)
        scores[inside] = store.scores(own["text1"][:], own["text2"][:], member)
        shutil.rmtree(member.folder, ignore_errors=True)
    shutil.rmtree(folder / MODELS, ignore_errors=True)
    return scores, {"fingerprint": store.fingerprint, **description, "stored": len(store)}


class _Member:
    """A ScoreTeacher that is fine-tuned when it is first asked."""

    def __init__(self, config: TeachConfig, pairs: Any, folder: Path, store: ScoreStore) -> None:
        self.config, self.pairs, self.folder, self.fingerprint = config, pairs, folder, store.fingerprint
        self._loaded: Any = None

    def describe(self) -> dict[str, Any]:
        """Its folder; the store describes itself."""
        return {"name": str(self.folder)}

    def score(self, left: Sequence[str], right: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """Scores [N], float32."""
        if self._loaded is None:
            logger.info("%s: fine-tuning on the %d pairs of the other folds", self.folder.name, len(self.pairs))
            self._loaded = load_tuned(self.config, fine_tuned(self.config, self.pairs, self.folder))
        if not isinstance(self._loaded, VectorTeacher):
            scores: np.ndarray = self._loaded.score(left, right, progress=progress)
            return scores
        a, b = (self._loaded.embed(side, progress=progress) for side in (left, right))
        products: np.ndarray = np.einsum("nd,nd->n", a, b)
        return products


def _tell(folds: Folds, rows: int) -> None:
    if folds.apart_by == "texts":
        return
    apart = "pairs alone" if folds.apart_by == "pairs" else f"the texts of {folds.apart_by} alone"
    logger.warning(
        "folds: one block of connected texts holds too many of the %d training pairs, so folds are apart by %s; %d pairs "
        "hold a text that their member has seen in other pairs",
        rows,
        apart,
        folds.seen,
    )
