"""Texts and pairs as callers hand them over: checked one by one, so that an error names the first that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from flipkd.errors import DataError, shorten
from flipkd.text import is_empty

Pairs = Iterable[Sequence[str]]


def checked_sides(pairs: Pairs) -> tuple[list[str], list[str]]:
    """Left and right texts of pairs. Raises DataError naming the first pair that is not two texts to be scored."""
    rows = _listed(pairs, "pairs")
    if len(rows) == 2 and all(isinstance(row, str) for row in rows):
        raise DataError("got one pair of texts where a list of pairs is needed: write [(text1, text2)]")
    good: set[str] = set()
    for position, row in enumerate(rows):
        if isinstance(row, str) or not isinstance(row, Sequence | np.ndarray) or len(row) != 2:
            raise DataError(f"pair {position} is {shorten(row)}; a pair is two texts")
        for side, text in enumerate(row):
            check_text(text, f"pair {position}, text {side + 1},", good)
    return [row[0] for row in rows], [row[1] for row in rows]


def checked_texts(texts: Any, what: str = "text") -> list[str]:
    """The texts as a list. Raises DataError naming the first that cannot be read."""
    rows = _listed(texts, f"{what}s")
    good: set[str] = set()
    for position, text in enumerate(rows):
        check_text(text, f"{what} {position}", good)
    return rows


def _listed(values: Any, what: str) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise DataError(f"got {shorten(values)} where a list of {what} is needed")
    return list(values)


def check_text(text: Any, where: str, good: set[str] | None = None) -> None:
    """Raise DataError, which begins with `where`, for what is no text that can be read.

    A text is looked at once, however often it stands there, as a query does in each of its pairs: `good` are those seen.
    """
    good = set() if good is None else good
    if not isinstance(text, str):
        raise DataError(f"{where} is {shorten(text)}, a {type(text).__name__}; it must be a text")
    if text in good:
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        what = (
            "a byte that is not UTF-8 (a Latin-1 terminal?)"
            if _is_byte(text[error.start])
            else "half a surrogate pair"
        )
        raise DataError(f"{where} holds {what} at character {error.start}; it is not valid Unicode") from None
    if is_empty(text):
        raise DataError(f"{where} is empty; every text needs at least one visible character")
    good.add(text)


def _is_byte(character: str) -> bool:
    """Whether Python put it in the place of a byte that it could not decode (PEP 383)."""
    return "\udc80" <= character <= "\udcff"
