"""A golden pair: two texts, their token ids and their score when a matcher was saved, computed again when it is loaded.

It notices what no file shows: another tokenizer library, another kernel, a base whose config means something else by now.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path

from flipkd.artefacts import library_errors
from flipkd.errors import ArtefactError, NumbersError
from flipkd.student.contract import CONTRACT, GoldenPair, ScoreContract
from flipkd.student.model import Student
from flipkd.student.scoring import score_pairs

logger = logging.getLogger(__name__)
TEXTS = (
    # With what the rules of normalisation take out: other rules, or another Unicode table, would give other ids.
    "The 2 parcels (no. 47-b) that I\u200b ordered on\nMonday haven't  arrived yet: where are they ｎｏｗ?",
    "My order from the day before yesterday is late \u2014 can you tell me the place of both boxes?",
)
# How far a score may be from the stored one: rounding differs by device, kernel and merging.
TOLERANCE = {"float32": 0.01, "float16": 0.1, "bfloat16": 0.3}
FOUR_BITS = 2.0


def golden_pair(student: Student) -> GoldenPair:
    """The golden pair of a student as it is now. Raises NumbersError when its score is not finite."""
    score = _score(student, *TEXTS)
    if not math.isfinite(score):
        raise NumbersError(f"the student scores its golden pair {score}; the training broke down: lower learning_rate")
    return GoldenPair(text1=TEXTS[0], text2=TEXTS[1], ids=_ids(student, *TEXTS), score=score)


def check_golden(student: Student, contract: ScoreContract, folder: Path) -> None:
    """Raise ArtefactError where a loaded matcher does not read or score its golden pair as when it was saved."""
    stored = contract.golden
    if stored is None:
        logger.info("%s: format %d, without a golden pair to check its scores by", folder, contract.format)
        return
    if _ids(student, stored.text1, stored.text2) != stored.ids:
        raise ArtefactError(
            f"{folder / CONTRACT}: its golden pair gives other token ids than when it was saved: the tokenizer is another, "
            "or a library that reads it (transformers, tokenizers); take the versions of training"
        )
    with library_errors(folder, "the model does not run"):
        score = _score(student, stored.text1, stored.text2)
    most = FOUR_BITS if contract.load_in_4bit else TOLERANCE.get(contract.dtype, TOLERANCE["bfloat16"])
    if not abs(score - stored.score) <= most:
        raise ArtefactError(
            f"{folder / CONTRACT}: its golden pair scores {score:.3f}, which was {stored.score:.3f} when it was saved "
            f"(allowed: {most} apart); the base model or a library computes otherwise than at training"
        )


def _ids(student: Student, text1: str, text2: str) -> list[int]:
    return list(student.prompt.pair_rows([text1], [text2])[0].ids)


def _score(student: Student, text1: str, text2: str) -> float:
    return float(score_pairs(student, [text1], [text2]).answer[0])
