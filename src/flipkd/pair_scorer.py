"""PairScorer: scores, probabilities and decisions of text pairs under a score contract."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import ConfigError, NumbersError
from flipkd.evaluate.calibration import Calibration
from flipkd.evaluate.cascade import Cascade
from flipkd.evaluate.combine import TEACHER, weighted_sum
from flipkd.evaluate.decisions import Judgement, decide
from flipkd.inputs import Pairs, check_count, checked_sides
from flipkd.model_lock import ModelLock
from flipkd.student.contract import ScoreContract
from flipkd.student.model import Student
from flipkd.student.scoring import Floats, score_pairs
from flipkd.student.text_states import text_states
from flipkd.teachers.kept_teacher import KeptTeacherModel
from flipkd.text import normal_text


class PairScorer:
    """A student, the teacher that it may keep, and the contract that turns their scores into decisions.

    Threads may share one. `Matcher` adds loading, vectors of texts and ranking.
    """

    def __init__(
        self,
        student: Student,
        contract: ScoreContract,
        *,
        teacher: KeptTeacherModel | None = None,
        exact: bool = False,
        cascade: bool = False,
    ) -> None:
        self.student, self.contract, self.teacher, self.exact = student, contract, teacher, exact
        self.use_cascade = cascade
        if cascade:
            self.require_cascade()
        self.scored_by = {"student": 0, "teacher": 0}  # numbers of pairs so far, by the model that decided them
        self.calibration = Calibration.of(contract.calibration)
        self.threshold = 0.0 if contract.threshold is None else contract.threshold
        self.review_threshold = contract.review_threshold
        self._states = text_states(student)  # cache of texts that were encoded before
        self._lock = ModelLock()  # a forward pass stores its outputs on the student, so two threads must not mix

    def predict(
        self,
        pairs: Pairs,
        *,
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        cascade: bool | None = None,
    ) -> Floats:
        """Compute scores [N], float32, in the order given.

        A score is logit(yes) - logit(no), the cosine of the two texts' vectors, the score of the teacher that the matcher
        keeps, or a sum of them. `score` in `matcher.json` has the weights of the sum, chosen on validation; with `symmetric`
        there the score is the mean over both orders of the two texts. `cascade`: see that method; default: as loaded.
        batch_size: pairs per forward pass; default 32 on a CPU, as many as fit on a GPU.
        Raises DataError for a pair that is not two texts, NumbersError for a score that is not finite.

        Examples:
            >>> matcher.predict([("I lost my card", "My card is missing")]).shape
            (1,)
        """
        if self.use_cascade if cascade is None else cascade:
            return self.cascade(pairs, batch_size=batch_size, show_progress_bar=show_progress_bar)[0]
        left, right = checked_sides(pairs)
        keeps = TEACHER in self.contract.score
        teacher = self._teacher_scores(left, right, batch_size=batch_size) if keeps else None
        label = "pairs" if show_progress_bar else None
        scores = self._language_model_scores(left, right, teacher, batch_size=batch_size, progress=label)
        self._count(student=len(left))
        return _require_finite(scores)

    def cascade(
        self, pairs: Pairs, *, batch_size: int | None = None, show_progress_bar: bool = False
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Compute scores [N] as `predict`, and a mask [N] of the pairs that the language model scored.

        The teacher decides the other pairs: their score is the teacher's, on the same scale. Raises ConfigError for a
        matcher without a teacher or a fitted cascade, and the errors of `predict`.

        Examples:
            >>> scores, by_llm = matcher.cascade(pairs)
            >>> by_llm.dtype, by_llm.shape
            (dtype('bool'), (2,))
        """
        band = self.require_cascade()
        left, right = checked_sides(pairs)
        teacher = self._teacher_scores(left, right, batch_size=batch_size)
        scores, by_llm = band.scores(teacher), band.read(teacher)
        rows = np.flatnonzero(by_llm)
        own = teacher[rows] if TEACHER in self.contract.score else None
        texts = [left[row] for row in rows], [right[row] for row in rows]
        progress = "pairs" if show_progress_bar else None
        scores[rows] = self._language_model_scores(*texts, own, batch_size=batch_size, progress=progress)
        self._count(student=len(rows), teacher=len(left) - len(rows))
        return _require_finite(scores), by_llm

    def _count(self, *, student: int, teacher: int = 0) -> None:
        with self._lock:
            self.scored_by["student"] += student
            self.scored_by["teacher"] += teacher

    def require_cascade(self) -> Cascade:
        """Return the fitted cascade. Raises ConfigError without one; the message has the command that fits one.

        Examples:
            >>> band = matcher.require_cascade()
            >>> band.low <= band.high
            True
        """
        if self.teacher is None:
            raise ConfigError(
                "this matcher keeps no teacher, which a cascade needs; train it with --keep_teacher true"
            )
        if self.contract.cascade is None:
            raise ConfigError(
                "this matcher has no fitted cascade; fit one on labelled pairs with flipkd calibrate --cascade 0.005"
            )
        return Cascade(**self.contract.cascade.model_dump())

    def teacher_scores(self, pairs: Pairs, *, batch_size: int | None = None) -> Floats:
        """Compute scores [N] of the teacher that the matcher keeps: cosines or logits. Raises ConfigError when it keeps none.

        Examples:
            >>> matcher.teacher_scores(pairs).shape
            (2,)
        """
        if self.teacher is None:
            raise ConfigError("this matcher keeps no teacher; train it with --keep_teacher true")
        return _require_finite(self._teacher_scores(*checked_sides(pairs), batch_size=batch_size))

    def _teacher_scores(self, left: list[str], right: list[str], *, batch_size: int | None) -> Floats:
        if self.teacher is None:
            raise ConfigError("this matcher's score needs its teacher; load it with Matcher.from_pretrained")
        if self.contract.text_normalisation is not None:
            normal = {text: normal_text(text) for text in dict.fromkeys([*left, *right])}
            left, right = [normal[text] for text in left], [normal[text] for text in right]
        return self.teacher.scores(
            left, right, both_orders=self.contract.symmetric, batch_size=self._rows_per_pass(batch_size)
        )

    def _rows_per_pass(self, batch_size: int | None) -> int | None:
        """Return the rows per forward pass: one with `exact`, since the shape of the batch then never changes."""
        check_count("batch_size", 1 if batch_size is None else batch_size)
        return 1 if self.exact else batch_size

    def _language_model_scores(
        self,
        left: list[str],
        right: list[str],
        teacher: Floats | None,
        *,
        batch_size: int | None,
        progress: str | None,
    ) -> NDArray[np.float64]:
        """Compute scores [N] by the language model, and add the `teacher` scores where they are part of the sum."""
        orders = [(left, right), (right, left)] if self.contract.symmetric else [(left, right)]
        by_order = [self._one_order(*sides, batch_size=batch_size, progress=progress) for sides in orders]
        scores: NDArray[np.float64] = np.mean(by_order, axis=0)
        return scores if teacher is None else scores + weighted_sum({TEACHER: teacher}, self._weights(TEACHER))

    def _weights(self, *kinds: str) -> dict[str, float]:
        return {str(kind): weight for kind, weight in self.contract.score.items() if kind in kinds}

    def _one_order(
        self, left: list[str], right: list[str], *, batch_size: int | None, progress: str | None
    ) -> NDArray[np.float64]:
        weights = self._weights("answer", "cosine")
        with self._lock:
            found = score_pairs(
                self.student,
                left,
                right,
                batch_size=self._rows_per_pass(batch_size),
                return_embeddings="cosine" in weights,
                states=self._states,
                progress=progress,
            )
        return weighted_sum(found.kinds, weights)

    def predict_proba(
        self,
        pairs: Pairs,
        *,
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        cascade: bool | None = None,
    ) -> NDArray[np.float64]:
        """Compute calibrated probabilities [N] that the pairs match.

        Examples:
            >>> probabilities = matcher.predict_proba(pairs)
            >>> bool(((probabilities >= 0) & (probabilities <= 1)).all())
            True
        """
        scores = self.predict(pairs, batch_size=batch_size, show_progress_bar=show_progress_bar, cascade=cascade)
        return self.calibration.apply(scores)

    def decide(
        self,
        pairs: Pairs,
        *,
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        cascade: bool | None = None,
    ) -> list[str]:
        """Decide each pair by the thresholds of validation: `match`, `no_match`, or `review` in a matcher with a review band.

        Examples:
            >>> set(matcher.decide(pairs)) <= {"match", "review", "no_match"}
            True
        """
        scores = self.predict(pairs, batch_size=batch_size, show_progress_bar=show_progress_bar, cascade=cascade)
        return self.decisions(scores)

    def judge(self, scores: Floats) -> list[Judgement]:
        """Make the score, calibrated probability and decision of each pair, from scores [N] of `predict` or `cascade`.

        Examples:
            >>> [judgement] = matcher.judge(matcher.predict(pairs[:1]))
            >>> judgement.decision in {"match", "review", "no_match"}
            True
        """
        values = np.asarray(scores).tolist(), self.calibration.apply(scores).tolist(), self.decisions(scores)
        return [Judgement(*row) for row in zip(*values, strict=True)]

    def decisions(self, scores: Floats) -> list[str]:
        """Decide for scores [N] of `predict`.

        Examples:
            >>> matcher.decisions([matcher.threshold, matcher.threshold - 1])
            ['match', 'no_match']
        """
        return decide(scores, threshold=self.threshold, review_threshold=self.review_threshold)


def _require_finite(scores: NDArray[Any]) -> Floats:
    rounded: Floats = scores.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(rounded))
    if len(wrong):
        raise NumbersError(f"{len(wrong)} of {len(rounded)} scores are not finite, first is pair {wrong[0]}")
    return rounded
