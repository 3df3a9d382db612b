"""Cells that are not texts: labels, teacher scores and groups, each as one plain value or None."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

_WORDS = {
    **dict.fromkeys(("1", "1.0", "yes", "y", "true", "match"), 1),
    **dict.fromkeys(("0", "0.0", "no", "n", "false", "no match", "no_match", "no-match", "nomatch"), 0),
    **dict.fromkeys(("", "nan", "none", "null"), None),
}
_LONGEST_NUMBER = 40  # characters; a float64 written in full needs 24


def parse_label(value: Any) -> int | None:
    """1 for a match, 0 for none, None for an unlabelled row. Raises ValueError saying what is allowed."""
    if isinstance(value, str) and value.strip().casefold() in _WORDS:
        return _WORDS[value.strip().casefold()]
    if value is None or _is_nan(value):
        return None
    if not isinstance(value, str) and value in (0, 1):  # also True, 1.0 and Decimal("1")
        return int(value)
    raise ValueError(
        "a label is 1 or 0, yes or no, true or false, match or no match; a cell left blank means unlabelled"
    )


def parse_score(value: Any) -> float | None:
    """A finite teacher score, None where the cell is blank. Raises ValueError saying what is allowed."""
    if value is None or _is_nan(value) or (isinstance(value, str) and _WORDS.get(value.strip().casefold(), 0) is None):
        return None
    allowed = "a score is a finite number such as 0.83; a cell left blank means no score"
    if isinstance(value, bool) or (isinstance(value, str) and ("_" in value or len(value) > _LONGEST_NUMBER)):
        raise ValueError(allowed)
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(allowed) from None
    if not math.isfinite(score):
        raise ValueError(allowed)
    return score


def parse_group(value: Any) -> str | None:
    """The name of a row's group, None where the cell is blank. Raises ValueError saying what is allowed."""
    if value is None or _is_nan(value) or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, float) and value.is_integer():  # a column of whole numbers with gaps arrives as float
        return str(int(value))
    if isinstance(value, str | int) and "\0" not in str(value):
        return str(value)
    raise ValueError("a group is a text or a whole number")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


PARSERS: dict[str, Callable[[Any], Any]] = {"label": parse_label, "score": parse_score, "group": parse_group}
