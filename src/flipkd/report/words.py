"""The page's plain words: what each system is, what a difference says, and figures as a reader likes them."""

from __future__ import annotations

import unicodedata
from typing import Any
from urllib.parse import quote

SIGNIFICANT = 0.05
LARGEST_TEXT = 200
TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # Unicode's orders to turn the direction
MARKS = "\u200e\u200f\u061c\ufeff"

SCORES = {
    "answer": "the language model's yes or no",
    "cosine": "the similarity of its two text vectors",
    "combined": "a logistic fit of all of them on validation",
    "with_teacher": "these and the score of the small teacher, which the matcher keeps",
    "score": "the similarity that the small model gives",
}


def verdict(difference: dict[str, float], *, of: str, reference: str) -> str:
    """What to say of F1: which of the two is ahead, by how much, and whether that can be chance."""
    sure = f"({interval(difference)}; {p_values(difference)})"
    if difference["p_adjusted"] >= SIGNIFICANT:
        by = f"{points(difference['difference'])} points of F1 {sure}"
        return (
            f"The difference between {of} and {reference} cannot be told apart from chance on these test pairs: {by}."
        )
    if difference["difference"] > 0:
        told = f"beats {reference} by {points(difference['difference'])} points of F1 {sure}"
    else:
        told = f"falls behind {reference} by {points(-difference['difference'])[1:]} points of F1 {sure}"
    return f"{of[:1].upper()}{of[1:]} {told}. So large a difference is hard to explain by chance alone."


def ranking(difference: dict[str, float]) -> str:
    """What to say of AP beside a verdict on F1."""
    told = f"{points(difference['difference'])} points ({interval(difference)}; {p_values(difference)})"
    sure = ", more than chance explains" if difference["p_adjusted"] < SIGNIFICANT else ""
    return f"In the order of all pairs, where no threshold is asked, the difference in AP is {told}{sure}."


def points(value: float) -> str:
    """A difference of metrics in points of 100, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def interval(difference: dict[str, float]) -> str:
    """The 95 % interval of a difference, in points."""
    return f"95 % interval {points(difference['low'])} to {points(difference['high'])}"


def p_value(difference: dict[str, float], *, kind: str = "p_value") -> str:
    """p, or by kind `p_adjusted` p after Holm's correction, with no more digits than it has.

    As a bound where the resamples allow no smaller one.
    """
    value = difference[kind]
    if value < 0.001:
        return "p < 0.001"
    sign = "≤" if difference["p_value"] <= 2 / difference["resamples"] and value < 1 else "="
    return f"p {sign} {value:.3f}" if value < 0.1 else f"p {sign} {value:.2f}"


def p_values(difference: dict[str, float]) -> str:
    """p, and behind it what Holm's correction makes of it where that is something else."""
    if difference["p_adjusted"] == difference["p_value"]:
        return p_value(difference)
    return f"{p_value(difference)}, after Holm's correction {p_value(difference, kind='p_adjusted')}"


def duration(seconds: float | None) -> str:
    """Seconds as a reader says them."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def memory(peak: float | None) -> str:
    """Bytes in GiB."""
    return "–" if peak is None else f"{peak / 2**30:.1f} GiB"


def speed(pairs: float | None) -> str:
    """Pairs a second."""
    return "–" if pairs is None else f"{pairs:,.0f}" if pairs >= 100 else f"{pairs:.1f}"


def figure(value: float | None) -> str:
    """A metric between 0 and 1."""
    return "–" if value is None else f"{value:.3f}"


def count(value: float) -> str:
    """A count of pairs, or a mean of counts."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def link(folder: str) -> str:
    """The address of a folder beside the page; no part of it can name a scheme or a host."""
    return "./" + quote(folder, errors="replace")


def visible(text: Any) -> str:
    """Any text so that a page shows what is there: control characters, marks of direction, half surrogates as escapes.

    Line breaks and tabs become spaces; joiners stay, since emoji and several scripts are written with them.
    """
    return "".join(_visible(character) for character in str(text))


def _visible(character: str) -> str:
    if character in "\t\n\r":
        return " "
    turns = unicodedata.bidirectional(character) in TURNS or character in MARKS
    hidden = turns or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return f"\\u{ord(character):04x}" if hidden else character


def shortened(text: str, limit: int = LARGEST_TEXT) -> str:
    """The beginning of a long text."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
