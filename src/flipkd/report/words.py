"""Texts of the report: verdicts on differences, formatted numbers, and escaping of invisible characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

SIGNIFICANT = 0.05
MAX_TEXT = 200
# Unicode's bidirectional control characters.
BIDI_CONTROLS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
INVISIBLE_MARKS = "\u200e\u200f\u061c\ufeff"

SCORES = {
    "answer": "the language model's yes or no",
    "cosine": "the similarity of its two text vectors",
    "combined": "a logistic fit of all of them on validation",
    "with_teacher": "these and the score of the small teacher, which the matcher keeps",
    "score": "the similarity that the small model gives",
}


def verdict(differences: Mapping[str, Mapping[str, float]]) -> str:
    """Return in which metrics a system is significantly better or worse; differences: name of the metric -> difference.

    The p-values are those after Holm's correction. Equal outcomes in all metrics are `better` or `worse`.
    """
    outcomes = {
        metric: "better" if found["difference"] > 0 else "worse"
        for metric, found in differences.items()
        if found["p_adjusted"] < SIGNIFICANT
    }
    if not outcomes:
        return "no significant difference"
    if len(outcomes) == len(differences) and len({*outcomes.values()}) == 1:
        return next(iter(outcomes.values()))
    return ", ".join(f"{outcome} in {metric}" for metric, outcome in outcomes.items())


def points(value: float) -> str:
    """Format a difference of metrics in points of 100, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def p_value(difference: dict[str, float], *, kind: str = "p_value") -> str:
    """Format p, or p after Holm's correction (kind `p_adjusted`), with significant digits only.

    The smallest p that the number of resamples allows is shown as a bound.
    """
    value = difference[kind]
    if value < 0.001:
        return "p < 0.001"
    sign = "≤" if difference["p_value"] <= 2 / difference["resamples"] and value < 1 else "="
    return f"p {sign} {value:.3f}" if value < 0.1 else f"p {sign} {value:.2f}"


def duration(seconds: float | None) -> str:
    """Format seconds as seconds, minutes or hours."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def memory(peak: float | None) -> str:
    """Format bytes in GiB."""
    return "–" if peak is None else f"{peak / 2**30:.1f} GiB"


def speed(pairs: float | None) -> str:
    """Format pairs per second."""
    return "–" if pairs is None else f"{pairs:,.0f}" if pairs >= 100 else f"{pairs:.1f}"


def figure(value: float | None) -> str:
    """Format a metric between 0 and 1."""
    return "–" if value is None else f"{value:.3f}"


def count(value: float) -> str:
    """Format a count of pairs, or a mean of counts."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def link(folder: str) -> str:
    """Return a relative URL of a folder next to the page, quoted so that it cannot contain a scheme or a host."""
    return "./" + quote(folder, errors="replace")


def escape_invisible(text: Any) -> str:
    """Escape control characters, bidirectional marks and lone surrogates of a text.

    Line breaks and tabs become spaces; joiners are kept, because emoji and several scripts need them.
    """
    return "".join(_escape_invisible(character) for character in str(text))


def _escape_invisible(character: str) -> str:
    if character in "\t\n\r":
        return " "
    is_mark = unicodedata.bidirectional(character) in BIDI_CONTROLS or character in INVISIBLE_MARKS
    hidden = is_mark or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return f"\\u{ord(character):04x}" if hidden else character


def shortened(text: str, limit: int = MAX_TEXT) -> str:
    """Cut a long text."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
