"""Results of a service: a scored pair, and an encoded text."""

from __future__ import annotations

from dataclasses import dataclass


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
