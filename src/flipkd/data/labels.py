"""Parsers of cells that are not texts: labels, teacher scores and groups; and the labels of a data set as an array."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from flipkd.errors import DataError, shorten
from flipkd.text import folded

_LABELS = {
    **dict.fromkeys(("yes", "y", "true", "t", "match"), 1),
    **dict.fromkeys(("no", "n", "false", "f", "no match", "no_match", "no-match", "nomatch"), 0),
}
# Missing values as written by Python, R, SQL (\N: MySQL and PostgreSQL), SQL editors, JavaScript, spreadsheets and pandas;
# case-insensitive.
_BLANKS = frozenset(
    {"", "nan", "+nan", "-nan", "none", "null", "nil", "na", "n/a", "n.a.", "<na>", "nat", "\\n", "#n/a", "#na"}
    | {"#n/a n/a", "(null)", "[null]", "<null>", "#null!", "undefined", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"}
)
_DECIMAL_COMMA = re.compile(r"[-+]?(\d+,\d*|,\d+)([eE][-+]?\d+)?", re.ASCII)
_LONGEST_NUMBER = 40  # characters; a float64 written in full needs 24


def parse_label(value: Any) -> int | None:
    """Parse a label: 1 for a match, 0 for no match, None for a blank cell. Raises ValueError with the allowed values."""
    if _is_blank(value):
        return None
    if isinstance(value, str):
        text = _cleaned(value)
        label = _LABELS[text] if text in _LABELS else _number(text)
    else:
        label = value
    if label in (0, 1):  # also True, 1.0 and Decimal("1")
        return int(label)
    raise ValueError(
        "a label is 1 or 0, yes or no, true or false, match or no match; a blank cell (or NA, null, \\N and the "
        "like) means unlabelled; replace all other values"
    )


def label_at(value: Any, location: str) -> int | None:
    """Parse the label at this location of a file. Raises DataError with location and value."""
    try:
        return parse_label(value)
    except ValueError as error:
        raise DataError(f"{location}: got {shorten(value)}; {error}") from None


def parse_score(value: Any) -> float | None:
    """Parse a finite teacher score; None for a blank cell. Raises ValueError with the allowed values."""
    if _is_blank(value):
        return None
    score = None if isinstance(value, bool) else _number(value)
    if score is None or not math.isfinite(score):
        raise ValueError(
            "a score is a finite number with a decimal point, such as 0.83 (or a comma, if semicolons separate fields); a "
            "blank cell means no score"
        )
    return score


def parse_group(value: Any) -> str | None:
    """Parse the name of a group; None for a blank cell. Raises ValueError with the allowed values."""
    if _is_blank(value):
        return None
    if isinstance(value, float) and value.is_integer():  # a column of integers with blank cells is read as float
        return str(int(value))
    if isinstance(value, str | int) and "\0" not in str(value):
        return str(value)
    raise ValueError("a group is a text or an integer; a blank cell (or NA, null and the like) means no group")


def with_point(value: Any) -> Any:
    """Replace a decimal comma by a point; any other value is returned unchanged."""
    return value.replace(",", ".") if isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value.strip()) else value


def _number(value: Any) -> float | None:
    """The value as a float; None if it is not a number, or is written as only Python writes one (1_000)."""
    if isinstance(value, str) and ("_" in value or len(value) > _LONGEST_NUMBER):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _is_blank(value: Any) -> bool:
    if isinstance(value, str):
        return _cleaned(value) in _BLANKS
    return value is None or (isinstance(value, float) and math.isnan(value))


def _cleaned(value: str) -> str:
    """Strip white space and invisible characters, such as a byte order mark in the middle of a joined file."""
    return (value if value.isascii() else folded(value)).strip().casefold()


PARSERS: dict[str, Callable[[Any], Any]] = {"label": parse_label, "score": parse_score, "group": parse_group}


def labels_of(dataset: Any) -> np.ndarray:
    """Labels as int64 [N], -1 where a row is unlabelled."""
    if "label" not in dataset.column_names:
        return np.full(len(dataset), -1, np.int64)
    return np.array([-1 if label is None else label for label in dataset["label"][:]], np.int64)
