"""Loaded: the matcher and the index of a server, the functions that run in the model's thread, and results of a service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flipkd.errors import DataError
from flipkd.index import Floats, SearchIndex
from flipkd.matcher import Matcher

Pair = tuple[str, str]
VERSION = 12  # digits of the sha256 of the manifest
NO_INDEX = "this server has no index; start it with --index"


@dataclass(frozen=True)
class Match:
    """Result of one pair; `tokens` counts both texts after truncation."""

    score: float
    probability: float
    decision: str
    truncated: bool
    tokens: int


@dataclass(frozen=True)
class EncodedText:
    """Unit vector of one text; `tokens` counts the text after truncation."""

    vector: list[float]
    truncated: bool
    tokens: int


@dataclass(frozen=True)
class Loaded:
    """A matcher, and an index with the encoder of its queries."""

    matcher: Matcher
    index: SearchIndex | None = None
    encode: Callable[[Sequence[str]], Floats] | None = None

    @property
    def version(self) -> str:
        """Short hash of the matcher's folder."""
        return (self.matcher.fingerprint or "")[:VERSION]

    def clip(self, text: str) -> tuple[str, bool]:
        """Return the start of a text that is enough for the student and for a kept teacher, and whether the text is longer."""
        teacher = self.matcher.teacher
        return self.matcher.student.prompt.clip_text(text, least=0 if teacher is None else teacher.most_characters)

    def score(self, pairs: list[Pair], *, batch_size: int) -> list[tuple[float, bool, int]]:
        """Compute the score, the truncated flag and the number of tokens of each pair."""
        scores = self.matcher.predict(pairs, batch_size=batch_size)
        left, right = (self.matcher.student.prompt.text_ids(side) for side in zip(*pairs, strict=True))
        sides = zip(scores, left, right, strict=True)
        return [(float(score), a_cut or b_cut, len(a) + len(b)) for score, (a, a_cut), (b, b_cut) in sides]

    def encode_texts(self, texts: list[str], *, batch_size: int) -> list[tuple[list[float], bool, int]]:
        """Compute the unit vector, the truncated flag and the number of tokens of each text."""
        vectors = self.matcher.encode(texts, batch_size=batch_size).tolist()
        token_ids = self.matcher.student.prompt.text_ids(texts)
        return [(vector, cut, len(ids)) for vector, (ids, cut) in zip(vectors, token_ids, strict=True)]

    def encode_for_index(self, texts: list[str]) -> list[Floats]:
        """Compute the vector of each text by the encoder of the index. Raises DataError without an index."""
        if self.index is None or self.encode is None:
            raise DataError(NO_INDEX)
        return list(self.encode(texts))
