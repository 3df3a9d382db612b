"""Glossary: definitions of terms, added to the texts in which the terms occur."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from flipkd.text import normal_text

MAX_CHARACTERS = 300


class Glossary:
    """Definitions by term, and the maximum length of what is added to a text; a term may have several definitions."""

    def __init__(self, definitions: Mapping[str, Sequence[str]], *, max_characters: int = MAX_CHARACTERS) -> None:
        self.max_characters = max_characters
        self._known: dict[str, list[str]] = {}
        for term, found in definitions.items():
            self._known.setdefault(_key(term), []).extend(map(normal_text, found))
        longest_first = sorted(map(re.escape, self._known), key=len, reverse=True)
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)") if longest_first else None

    def enrich(self, text: str) -> str:
        """Add `(term: definition; ...)` for the terms of the text in their order, at most `max_characters` long.

        A definition that does not fit is left out; a text without a term is returned unchanged.
        """
        if self._pattern is None:
            return text
        notes: list[str] = []
        left = self.max_characters - 3  # a space and two brackets
        for term in dict.fromkeys(self._pattern.findall(_key(text))):
            for definition in self._known[term]:
                note = f"{term}: {definition}"
                if len(note) + 2 * bool(notes) <= left:
                    left -= len(note) + 2 * bool(notes)
                    notes.append(note)
        return f"{text} ({'; '.join(notes)})" if notes else text


def _key(text: str) -> str:
    return normal_text(text).casefold()
