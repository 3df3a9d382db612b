"""The golden pair: two texts with their token ids and score from saving a matcher, compared when it is loaded.

It detects changes that no hash of a file shows: another tokenizer library, another kernel, a config with a new meaning.
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
    # It contains what normalisation removes: other rules, or another Unicode table, would give other ids.
    "The 2 parcels (no. 47-b) that I\u200b ordered on\nMonday haven't  arrived yet: where are they ｎｏｗ?",
    "My order from the day before yesterday is late \u2014 can you tell me the place of both boxes?",
)
# Allowed difference from the stored score: rounding depends on device, kernel and merging.
TOLERANCE = {"float32": 0.01, "float16": 0.1, "bfloat16": 0.3}
FOUR_BITS = 2.0


def golden_pair(student: Student) -> GoldenPair:
    """Compute the golden pair of a student. Raises NumbersError when its score is not finite."""
    score = _score(student, *TEXTS)
    if not math.isfinite(score):
        raise NumbersError(f"the score of the golden pair is {score}: the training diverged; lower learning_rate")
    return GoldenPair(text1=TEXTS[0], text2=TEXTS[1], ids=_ids(student, *TEXTS), score=score)


def check_golden(student: Student, contract: ScoreContract, folder: Path) -> None:
    """Raise ArtefactError when a loaded matcher gives other token ids or another score for its golden pair than at saving."""
    stored = contract.golden
    if stored is None:
        logger.info("%s: format %d has no golden pair; its scores are not checked", folder, contract.format)
        return
    if _ids(student, stored.text1, stored.text2) != stored.ids:
        raise ArtefactError(
            f"{folder / CONTRACT}: the golden pair has other token ids than at saving: the tokenizer, the template, or the "
            "version of transformers or tokenizers has changed; use the files and versions of training"
        )
    with library_errors(folder, "the model does not run"):
        score = _score(student, stored.text1, stored.text2)
    tolerance = FOUR_BITS if contract.load_in_4bit else TOLERANCE.get(contract.dtype, TOLERANCE["bfloat16"])
    if not abs(score - stored.score) <= tolerance:
        raise ArtefactError(
            f"{folder / CONTRACT}: the score of the golden pair is {score:.3f}, but was {stored.score:.3f} at saving (allowed "
            f"difference: {tolerance}): the base model or a library has changed; use the files and versions of training"
        )


def _ids(student: Student, text1: str, text2: str) -> list[int]:
    return list(student.prompt.pair_rows([text1], [text2])[0].ids)


def _score(student: Student, text1: str, text2: str) -> float:
    return float(score_pairs(student, [text1], [text2]).answer[0])
