"""Edits that change what a text means and little else: another number, day, month or name. No model is needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# Without May, which is a verb too.
MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(rf"\b({'|'.join((*DAYS, *MONTHS))})\b", re.IGNORECASE)
_NAME = re.compile(r"(?<=[\w,;] )[A-Z][\w-]+")  # a capitalised word that does not begin a sentence


def edit(text: str, names: Sequence[str], random: np.random.Generator) -> str | None:
    """Return the text with one number, day, month or name changed; None if it has none.

    names: names of other texts, one of which replaces a name of this one.
    """
    options: list[tuple[re.Match[str], Callable[[str, np.random.Generator], str]]] = []
    options += [(found, _other_number) for found in _NUMBER.finditer(text)]
    options += [(found, _other_word) for found in _WORD.finditer(text)]
    others = [name for name in names if name not in text]
    if others:
        options += [
            (found, lambda _, r: str(r.choice(others))) for found in _NAME.finditer(text) if not _WORD.match(found[0])
        ]
    if not options:
        return None
    found, replace = options[int(random.integers(len(options)))]
    return text[: found.start()] + replace(found[0], random) + text[found.end() :]


def names_of(texts: Sequence[str]) -> list[str]:
    """Return the capitalised words inside the texts, each once, in order."""
    return list(dict.fromkeys(name for text in texts for name in _NAME.findall(text) if not _WORD.match(name)))


def _other_number(number: str, random: np.random.Generator) -> str:
    """Change one digit, never to a leading zero: the length, and so the look, stays."""
    at = int(random.integers(len(number)))
    digits = [digit for digit in "0123456789"[at == 0 :] if digit != number[at]]
    return number[:at] + str(random.choice(digits)) + number[at + 1 :]


def _other_word(word: str, random: np.random.Generator) -> str:
    group = DAYS if word.casefold() in DAYS else MONTHS
    other = str(random.choice([one for one in group if one != word.casefold()]))
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
