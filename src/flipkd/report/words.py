"""Texts of the report: sentences about differences, formatted numbers, and escaping of invisible characters."""

from __future__ import annotations

import unicodedata
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


def verdict(difference: dict[str, float], *, of: str, reference: str) -> str:
    """Return a sentence about a difference of F1: which of the two is better, by how much, and whether it is significant."""
    sure = f"({interval(difference)}; {p_values(difference)})"
    if difference["p_adjusted"] >= SIGNIFICANT:
        by = f"{points(difference['difference'])} points of F1 {sure}"
        return f"The difference between {of} and {reference} is not significant on these test pairs: {by}."
    if difference["difference"] > 0:
        outcome = f"is better than {reference} by {points(difference['difference'])} points of F1 {sure}"
    else:
        outcome = f"is worse than {reference} by {points(-difference['difference'])[1:]} points of F1 {sure}"
    return f"{of[:1].upper()}{of[1:]} {outcome}. The difference is significant."


def ranking(difference: dict[str, float]) -> str:
    """Return a sentence about the difference of AP, to follow the verdict on F1."""
    amount = f"{points(difference['difference'])} points ({interval(difference)}; {p_values(difference)})"
    sure = ", a significant difference" if difference["p_adjusted"] < SIGNIFICANT else ""
    return f"In the order of all pairs, which needs no threshold, the difference in AP is {amount}{sure}."


def points(value: float) -> str:
    """Format a difference of metrics in points of 100, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def interval(difference: dict[str, float]) -> str:
    """Format the 95 % interval of a difference, in points."""
    return f"95 % interval {points(difference['low'])} to {points(difference['high'])}"


def p_value(difference: dict[str, float], *, kind: str = "p_value") -> str:
    """Format p, or p after Holm's correction (kind `p_adjusted`), with significant digits only.

    The smallest p that the number of resamples allows is shown as a bound.
    """
    value = difference[kind]
    if value < 0.001:
        return "p < 0.001"
    sign = "≤" if difference["p_value"] <= 2 / difference["resamples"] and value < 1 else "="
    return f"p {sign} {value:.3f}" if value < 0.1 else f"p {sign} {value:.2f}"


def p_values(difference: dict[str, float]) -> str:
    """Format p, followed by p after Holm's correction when that differs."""
    if difference["p_adjusted"] == difference["p_value"]:
        return p_value(difference)
    return f"{p_value(difference)}, after Holm's correction {p_value(difference, kind='p_adjusted')}"


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
