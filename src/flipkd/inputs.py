"""Validation of texts and pairs that a caller passes; an error names the first invalid one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from flipkd.errors import DataError, UsageError, shorten
from flipkd.text import is_empty

Pairs = Iterable[Sequence[str]]


def checked_sides(pairs: Pairs) -> tuple[list[str], list[str]]:
    """Split pairs into left and right texts. Raises DataError that names the first invalid pair."""
    if isinstance(pairs, Mapping) or any(hasattr(pairs, name) for name in ("columns", "column_names")):
        # It would be read as the list of its names.
        kind = type(pairs).__name__
        raise DataError(f"got a {kind} where a list of pairs is needed; write list(zip(data['text1'], data['text2']))")
    rows = _listed(pairs, "pairs")
    if len(rows) == 2 and all(isinstance(row, str) for row in rows):
        raise DataError("got one pair of texts where a list of pairs is needed; write [(text1, text2)]")
    valid: set[str] = set()
    for position, row in enumerate(rows):
        if isinstance(row, str) or not isinstance(row, Sequence | np.ndarray) or len(row) != 2:
            raise DataError(f"pair {position} is {shorten(row)}; a pair is two texts: (text1, text2)")
        for side, text in enumerate(row):
            check_text(text, f"pair {position}, text {side + 1},", valid)
    return [row[0] for row in rows], [row[1] for row in rows]


def check_count(name: str, value: Any, *, otherwise: str = "") -> None:
    """Raise UsageError unless `value` is an integer of at least 1; `otherwise`: what else is allowed, for the message."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise UsageError(f"{name} is {shorten(value)}; it must be an integer of at least 1{otherwise}")


def checked_texts(texts: Any, name: str = "text") -> list[str]:
    """Convert texts to a list. Raises DataError that names the first invalid text."""
    rows = _listed(texts, f"{name}s")
    valid: set[str] = set()
    for position, text in enumerate(rows):
        check_text(text, f"{name} {position}", valid)
    return rows


def _listed(values: Any, expected: str) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise DataError(f"got {shorten(values)} where a list of {expected} is needed")
    return list(values)


def check_text(text: Any, where: str, valid: set[str] | None = None) -> None:
    """Raise DataError, whose message begins with `where`, for a value that is not a valid, visible text.

    `valid`: texts that were checked before, and are skipped; a query is part of each of its pairs.
    """
    valid = set() if valid is None else valid
    if not isinstance(text, str):
        raise DataError(f"{where} is {shorten(text)} of type {type(text).__name__}; it must be a text")
    if text in valid:
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        found = "a byte that is not UTF-8 (a Latin-1 terminal?)" if _is_byte(text[error.start]) else "a lone surrogate"
        raise DataError(f"{where} has {found} at character {error.start}; it is not valid Unicode") from None
    if is_empty(text):
        raise DataError(f"{where} is empty; every text needs at least one visible character")
    valid.add(text)


def _is_byte(character: str) -> bool:
    """True for the surrogate that Python substitutes for a byte it could not decode (PEP 383)."""
    return "\udc80" <= character <= "\udcff"
