"""Matcher: a finished folder that scores pairs, decides, ranks documents and gives vectors of texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flipkd.errors import DataError, NumbersError, UsageError, shorten
from flipkd.evaluate.calibration import Calibration
from flipkd.student.contract import CONTRACT, ScoreContract
from flipkd.student.model import Student, load_student
from flipkd.student.scoring import Floats, encode_texts, score_pairs

Pairs = Sequence[tuple[str, str]] | Sequence[Sequence[str]]


class Matcher:
    """A trained student under its score contract. Make one with `from_pretrained`."""

    def __init__(self, student: Student, contract: ScoreContract) -> None:
        self.student, self.contract = student, contract
        calibration = contract.calibration
        self.calibration = Calibration(**calibration) if calibration else Calibration.identity()
        self.threshold = 0.0 if contract.threshold is None else contract.threshold

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        base_model: str | None = None,
        device: str | None = None,
        merge: bool = False,
    ) -> Matcher:
        """Load a matcher folder, or the run folder that holds one.

        `base_model` is where the base model lies if not where it was at training; `merge` folds LoRA into the weights.
        Raises ArtefactError when the folder is damaged or the base model is not the one it was trained on.
        """
        path = Path(folder)
        if not (path / CONTRACT).exists() and (path / "matcher" / CONTRACT).exists():
            path = path / "matcher"
        student, contract = load_student(path, base_model=base_model, merge=merge)
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(student.to(chosen), contract)

    def predict(self, pairs: Pairs, *, batch_size: int = 32, show_progress_bar: bool = False) -> Floats:
        """Scores [N], float32: logit(yes) - logit(no) of each pair, in the order given.

        Raises DataError for a pair that is not two texts, NumbersError for a score that is not finite.
        """
        left, right = _sides(pairs)
        label = "pairs" if show_progress_bar else None
        scores = score_pairs(self.student, left, right, batch_size=batch_size, progress=label).answer
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            raise NumbersError(f"{len(bad)} of {len(scores)} scores are not finite, first is pair {bad[0]}")
        return scores

    def predict_proba(
        self, pairs: Pairs, *, batch_size: int = 32, show_progress_bar: bool = False
    ) -> NDArray[np.float64]:
        """Calibrated probabilities [N] that the pairs match."""
        return self.calibration.apply(self.predict(pairs, batch_size=batch_size, show_progress_bar=show_progress_bar))

    def decide(self, pairs: Pairs, *, batch_size: int = 32, show_progress_bar: bool = False) -> list[str]:
        """`match` or `no_match` for each pair, by the threshold that validation chose."""
        scores = self.predict(pairs, batch_size=batch_size, show_progress_bar=show_progress_bar)
        return self.decisions(scores)

    def decisions(self, scores: Floats) -> list[str]:
        """`match` or `no_match` for scores that `predict` gave."""
        return ["match" if score >= self.threshold else "no_match" for score in scores]

    def encode(self, texts: Sequence[str], *, batch_size: int = 32, show_progress_bar: bool = False) -> Floats:
        """Unit vectors [n, D] of texts read alone; cosines of them are meant for separate and blocked reading.

        After joint reading a right-hand text was trained after its left-hand one, and alone it is a stranger.
        """
        for position, text in enumerate(texts):
            _check_text(text, f"text {position}")
        return encode_texts(
            self.student, texts, batch_size=batch_size, progress="texts" if show_progress_bar else None
        )

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_k: int | None = None,
        return_documents: bool = False,
        batch_size: int = 32,
    ) -> list[dict[str, Any]]:
        """Documents by falling score: [{"corpus_id", "score", "text" if asked for}], ties in the order given.

        Raises UsageError for a top_k below 1.
        """
        if top_k is not None and top_k < 1:
            raise UsageError(f"top_k is {top_k}; it must be at least 1, or None for all documents")
        scores = self.predict([(query, document) for document in documents], batch_size=batch_size)
        ranked: list[dict[str, Any]] = []
        for position in np.argsort(-scores, kind="stable")[:top_k].tolist():
            row: dict[str, Any] = {"corpus_id": position, "score": float(scores[position])}
            ranked.append(row | ({"text": documents[position]} if return_documents else {}))
        return ranked


def _sides(pairs: Pairs) -> tuple[list[str], list[str]]:
    if isinstance(pairs, str) or (len(pairs) == 2 and all(isinstance(pair, str) for pair in pairs)):
        raise DataError("got one pair of texts where a list of pairs is needed: write [(text1, text2)]")
    for position, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) != 2:
            raise DataError(f"pair {position} is {shorten(pair)}; a pair is two texts")
        for side, text in enumerate(pair):
            _check_text(text, f"pair {position}, text {side + 1},")
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _check_text(text: Any, where: str) -> None:
    if not isinstance(text, str):
        raise DataError(f"{where} is {shorten(text)}, a {type(text).__name__}; it must be a text")
    if not text.strip():
        raise DataError(f"{where} is empty; every text needs at least one visible character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{where} holds half a surrogate pair at character {error.start}; it is not valid Unicode") from None
