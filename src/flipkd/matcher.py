"""Matcher: a finished folder that scores pairs, decides, ranks documents and gives vectors of texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flipkd.artefacts import library_errors
from flipkd.device import best_device
from flipkd.errors import ConfigError, NumbersError, UsageError
from flipkd.evaluate.calibration import Calibration
from flipkd.evaluate.cascade import Cascade
from flipkd.evaluate.combine import TEACHER, weighted_sum
from flipkd.evaluate.decisions import decide
from flipkd.files import MANIFEST, sha256
from flipkd.inputs import Pairs, check_text, checked_sides, checked_texts
from flipkd.student.contract import CONTRACT, ScoreContract, matcher_folder
from flipkd.student.golden import check_golden
from flipkd.student.loading import load_student
from flipkd.student.model import Student
from flipkd.student.scoring import Floats, encode_texts, score_pairs
from flipkd.student.text_states import text_states
from flipkd.teachers.kept_teacher import KeptTeacherModel, load_kept_teacher
from flipkd.text import normal_text

if TYPE_CHECKING:
    from flipkd.index import Index

RANK_ROWS = 64  # documents in one pass on a CPU, whose query is read once


class Matcher:
    """A trained student under its score contract; threads may share one. Make one with `from_pretrained`.

    Examples:
        >>> from flipkd import Matcher
        >>> matcher = Matcher.from_pretrained("run")
        >>> pairs = [("I lost my card", "My card is missing"), ("I lost my card", "How do I change my PIN?")]
        >>> decisions = matcher.decide(pairs)
        >>> len(decisions)
        2
    """

    def __init__(
        self,
        student: Student,
        contract: ScoreContract,
        *,
        fingerprint: str | None = None,
        teacher: KeptTeacherModel | None = None,
        exact: bool = False,
    ) -> None:
        """Wrap a loaded student; `fingerprint` is the sha256 of the folder's manifest, which an index compares."""
        self.student, self.contract, self.fingerprint, self.teacher = student, contract, fingerprint, teacher
        self.exact = exact
        calibration = contract.calibration
        self.calibration = Calibration(**calibration) if calibration else Calibration.identity()
        self.threshold = 0.0 if contract.threshold is None else contract.threshold
        self.review_threshold = contract.review_threshold
        self._states = text_states(student)  # texts that were read before
        self._lock = Lock()  # a pass leaves what it read at the student, so passes of two threads must not mix

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        base_model: str | None = None,
        device: str | None = None,
        merge: bool = False,
        exact: bool = False,
    ) -> Matcher:
        """Load a matcher folder, or the run folder that holds one.

        `base_model` is where the base model lies if not where it was at training; `merge` folds LoRA into the weights.
        `exact` reads each pair alone, whatever the batch size: its score then has the same bits among any other pairs,
        where batches round differently; on one machine with one number of threads. It takes longer.
        Raises ArtefactError when the folder is damaged or the base model is not the one it was trained on.

        Examples:
            >>> Matcher.from_pretrained("run", device="cpu", merge=True).contract.reading
            'joint'
        """
        inside = matcher_folder(folder)
        student, contract = load_student(inside, base_model=base_model, merge=merge)
        place = device or best_device()
        student = student.to(place)
        check_golden(student, contract, inside)
        kept = contract.teacher
        teacher = None if kept is None else load_kept_teacher(inside, kept.model_dump(), device=place)
        with library_errors(inside / CONTRACT, "its calibration cannot be read"):
            return cls(student, contract, fingerprint=sha256(inside / MANIFEST), teacher=teacher, exact=exact)

    def predict(
        self, pairs: Pairs, *, batch_size: int | None = None, show_progress_bar: bool = False, cascade: bool = False
    ) -> Floats:
        """Scores [N], float32, in the order given: logit(yes) - logit(no), the cosine of the two texts' vectors, the score
        of the teacher that the matcher keeps, or a sum of them.

        `score` in `matcher.json` holds the weights of the sum, chosen on validation; with `symmetric` there the score is the
        mean over both orders of the two texts. `cascade`: see the method of that name.
        batch_size: pairs in one pass; default 32 on a CPU, as many as fit on a GPU.
        Raises DataError for a pair that is not two texts, NumbersError for a score that is not finite.

        Examples:
            >>> matcher.predict([("I lost my card", "My card is missing")]).shape
            (1,)
        """
        if cascade:
            return self.cascade(pairs, batch_size=batch_size, show_progress_bar=show_progress_bar)[0]
        left, right = checked_sides(pairs)
        keeps = TEACHER in self.contract.score
        teacher = self._teacher_scores(left, right, batch_size=batch_size) if keeps else None
        label = "pairs" if show_progress_bar else None
        return _finite(self._read(left, right, teacher, batch_size=batch_size, progress=label))

    def cascade(
        self, pairs: Pairs, *, batch_size: int | None = None, show_progress_bar: bool = False
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Scores [N] as in `predict`, and a mask [N] of the pairs that the language model scored.

        The teacher is sure of the others: their score is its own, on the same scale. Raises ConfigError for a matcher
        without a teacher or a fitted band, and as `predict`.

        Examples:
            >>> scores, by_llm = matcher.cascade(pairs)
            >>> by_llm.dtype, by_llm.shape
            (dtype('bool'), (2,))
        """
        band = self.require_cascade()
        left, right = checked_sides(pairs)
        teacher = self._teacher_scores(left, right, batch_size=batch_size)
        scores, read = band.scores(teacher), band.read(teacher)
        rows = np.flatnonzero(read)
        own = teacher[rows] if TEACHER in self.contract.score else None
        texts = [left[row] for row in rows], [right[row] for row in rows]
        label = "pairs" if show_progress_bar else None
        scores[rows] = self._read(*texts, own, batch_size=batch_size, progress=label)
        return _finite(scores), read

    def require_cascade(self) -> Cascade:
        """The fitted band. Raises ConfigError when there is none, with the command that fits one.

        Examples:
            >>> band = matcher.require_cascade()
            >>> band.low <= band.high
            True
        """
        if self.teacher is None:
            raise ConfigError(
                "this matcher keeps no teacher, so that nothing can decide before the language model; train it with "
                "--keep_teacher true"
            )
        if self.contract.cascade is None:
            raise ConfigError(
                "this matcher has no band for a cascade; fit one on labelled pairs with flipkd calibrate --cascade 0.005"
            )
        return Cascade(**self.contract.cascade.model_dump())

    def teacher_scores(self, pairs: Pairs, *, batch_size: int | None = None) -> Floats:
        """Scores [N] of the teacher that the matcher keeps: cosines or logits. Raises ConfigError when it keeps none.

        Examples:
            >>> matcher.teacher_scores(pairs).shape
            (2,)
        """
        if self.teacher is None:
            raise ConfigError("this matcher keeps no teacher; train it with --keep_teacher true")
        return _finite(self._teacher_scores(*checked_sides(pairs), batch_size=batch_size))

    def _teacher_scores(self, left: list[str], right: list[str], *, batch_size: int | None) -> Floats:
        if self.teacher is None:
            raise ConfigError("this matcher's score needs its teacher; load it with Matcher.from_pretrained")
        if self.contract.text_normalisation is not None:
            normal = {text: normal_text(text) for text in dict.fromkeys([*left, *right])}
            left, right = [normal[text] for text in left], [normal[text] for text in right]
        return self.teacher.scores(left, right, both_orders=self.contract.symmetric, batch_size=self._rows(batch_size))

    def _rows(self, batch_size: int | None) -> int | None:
        """The rows of a pass: with `exact` a single one, whose shape depends on no other."""
        return 1 if self.exact else batch_size

    def _read(
        self,
        left: list[str],
        right: list[str],
        teacher: Floats | None,
        *,
        batch_size: int | None,
        progress: str | None,
    ) -> NDArray[np.float64]:
        """Scores [N] of pairs that the language model reads, with the teacher's where they are part of the sum."""
        orders = [(left, right), (right, left)] if self.contract.symmetric else [(left, right)]
        summed = [self._score(*sides, batch_size=batch_size, progress=progress) for sides in orders]
        scores: NDArray[np.float64] = np.mean(summed, axis=0)
        return scores if teacher is None else scores + weighted_sum({TEACHER: teacher}, self._weights(TEACHER))

    def _weights(self, *kinds: str) -> dict[str, float]:
        return {str(kind): weight for kind, weight in self.contract.score.items() if kind in kinds}

    def _score(
        self, left: list[str], right: list[str], *, batch_size: int | None, progress: str | None
    ) -> NDArray[np.float64]:
        weights = self._weights("answer", "cosine")
        with self._lock:
            found = score_pairs(
                self.student,
                left,
                right,
                batch_size=self._rows(batch_size),
                return_embeddings="cosine" in weights,
                states=self._states,
                progress=progress,
            )
        return weighted_sum(found.kinds, weights)

    def predict_proba(
        self, pairs: Pairs, *, batch_size: int | None = None, show_progress_bar: bool = False, cascade: bool = False
    ) -> NDArray[np.float64]:
        """Calibrated probabilities [N] that the pairs match.

        Examples:
            >>> probabilities = matcher.predict_proba(pairs)
            >>> bool(((probabilities >= 0) & (probabilities <= 1)).all())
            True
        """
        return self.calibration.apply(
            self.predict(pairs, batch_size=batch_size, show_progress_bar=show_progress_bar, cascade=cascade)
        )

    def decide(
        self, pairs: Pairs, *, batch_size: int | None = None, show_progress_bar: bool = False, cascade: bool = False
    ) -> list[str]:
        """`match`, `no_match` or, in a matcher with a review band, `review` for each pair, by the thresholds of validation.

        Examples:
            >>> set(matcher.decide(pairs)) <= {"match", "review", "no_match"}
            True
        """
        scores = self.predict(pairs, batch_size=batch_size, show_progress_bar=show_progress_bar, cascade=cascade)
        return self.decisions(scores)

    def decisions(self, scores: Floats) -> list[str]:
        """The decisions for scores of `predict`.

        Examples:
            >>> matcher.decisions([matcher.threshold, matcher.threshold - 1])
            ['match', 'no_match']
        """
        return decide(scores, threshold=self.threshold, review_threshold=self.review_threshold)

    def encode(
        self, texts: Sequence[str], *, batch_size: int | None = None, show_progress_bar: bool = False
    ) -> Floats:
        """Unit vectors [n, D] of texts read alone; compare them only after separate or blocked reading.

        In joint reading a right-hand text is trained after its left-hand one: its stand-alone vector is out of distribution.

        Examples:
            >>> vectors = matcher.encode(["I lost my card", "My card is missing"])
            >>> vectors.shape[0], round(float(vectors[0] @ vectors[0]), 2)
            (2, 1.0)
        """
        texts = checked_texts(texts)
        label = "texts" if show_progress_bar else None
        with self._lock:
            vectors = encode_texts(self.student, texts, batch_size=self._rows(batch_size), progress=label)
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise NumbersError(f"{len(bad)} of {len(vectors)} vectors are not finite, first is text {bad[0]}")
        return vectors

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_k: int | None = None,
        return_documents: bool = False,
        batch_size: int | None = None,
    ) -> list[dict[str, Any]]:
        """Documents by falling score: [{"corpus_id", "score", "text" if asked for}], ties in the order given.

        Raises UsageError for a top_k below 1.

        Examples:
            >>> ranking = matcher.rank("I lost my card", ["My card is missing", "How do I change my PIN?"])
            >>> sorted(row["corpus_id"] for row in ranking)
            [0, 1]
        """
        if top_k is not None and top_k < 1:
            raise UsageError(f"top_k is {top_k}; it must be at least 1, or None for all documents")
        check_text(query, "the query")
        documents = checked_texts(documents, "document")
        if batch_size is None and self.student.device.type == "cpu":
            batch_size = RANK_ROWS
        scores = self.predict([(query, document) for document in documents], batch_size=batch_size)
        ranked: list[dict[str, Any]] = []
        for position in np.argsort(-scores, kind="stable")[:top_k].tolist():
            row: dict[str, Any] = {"corpus_id": position, "score": float(scores[position])}
            ranked.append(row | ({"text": documents[position]} if return_documents else {}))
        return ranked

    def search(
        self, query: str, index: Index, *, vector: Floats | None = None, top_k: int = 5, candidates: int = 20
    ) -> list[dict[str, Any]]:
        """The index's `candidates` nearest entries, judged by this matcher: the `top_k` best, by falling score.

        [{"corpus_id", "similarity", "score", "probability", "decision"} and the entry's own fields]. `vector` [d] is the
        query's by the model that made the index; None is for an index that this very matcher made.
        Raises UsageError for a top_k or candidates below 1, for a vector of another width, and where one is needed.

        Examples:
            >>> import numpy as np
            >>> vector = np.array([0.6, 0.8], np.float32)  # of the query, by the encoder of the index
            >>> [hit] = matcher.search("I lost my card", index, vector=vector, top_k=1, candidates=1)
            >>> hit["text"], round(hit["similarity"], 2)
            ('My card is missing', 0.8)
        """
        for name, count in (("top_k", top_k), ("candidates", candidates)):
            if count < 1:
                raise UsageError(f"{name} is {count}; it must be at least 1")
        check_text(query, "the query")
        if vector is None:
            if self.fingerprint is None or index.encoder.get("fingerprint") != self.fingerprint:
                raise UsageError(
                    f"another model made this index ({index.encoder.get('kind')} {index.encoder.get('folder')}); "
                    "give the query's vector by that model as vector="
                )
            vector = self.encode([query])[0]
        near = index.nearest(vector, top_k=max(candidates, top_k)) if len(index) else []
        ranked = self.rank(query, [index.entries[position]["text"] for position, _ in near], top_k=top_k)
        scores = np.array([row["score"] for row in ranked], np.float32)
        judged = zip(ranked, self.calibration.apply(scores).tolist(), self.decisions(scores), strict=True)
        rows = []
        for row, probability, decision in judged:
            position, similarity = near[row["corpus_id"]]
            found = {"corpus_id": position, "similarity": similarity, "score": row["score"]}
            rows.append(found | {"probability": probability, "decision": decision} | index.entries[position])
        return rows


def _finite(scores: NDArray[Any]) -> Floats:
    found: Floats = scores.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise NumbersError(f"{len(bad)} of {len(found)} scores are not finite, first is pair {bad[0]}")
    return found
