"""Glossary: definitions of terms, added to the texts in which the terms occur."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from flipkd.data.texts import read_texts
from flipkd.errors import DataError
from flipkd.text import normal_text

TERM, DEFINITION = "term", "definition"


class Glossary:
    """Definitions by term; a term may have several, such as the triples of a knowledge graph."""

    def __init__(self, terms: Sequence[str], definitions: Sequence[str]) -> None:
        self._known: dict[str, list[str]] = {}
        for term, definition in zip(terms, definitions, strict=True):
            self._known.setdefault(_key(term), []).append(normal_text(definition))
        longest_first = sorted(map(re.escape, self._known), key=len, reverse=True)
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)") if longest_first else None

    @classmethod
    def read(cls, path: str | Path) -> Glossary:
        """Read a file with the columns `term` and `definition`. Raises DataError for a definition that is not a text."""
        terms, kept = read_texts(path, column=TERM, keep=[DEFINITION])
        for row, value in enumerate(kept[DEFINITION], start=1):
            if not isinstance(value, str) or not value.strip():
                raise DataError(f"{path}: row {row}, column {DEFINITION}: is empty or no text; fill or remove it")
        return cls(terms, kept[DEFINITION])

    def enrich(self, text: str, *, max_characters: int) -> str:
        """Add `(term: definition; ...)` for the terms of the text in their order, at most `max_characters` long.

        A definition that does not fit is left out; a text without a term is returned unchanged.
        """
        if self._pattern is None:
            return text
        notes: list[str] = []
        left = max_characters - 3  # a space and two brackets
        for term in dict.fromkeys(self._pattern.findall(_key(text))):
            for definition in self._known[term]:
                note = f"{term}: {definition}"
                if len(note) + 2 * bool(notes) <= left:
                    left -= len(note) + 2 * bool(notes)
                    notes.append(note)
        return f"{text} ({'; '.join(notes)})" if notes else text


def _key(text: str) -> str:
    return normal_text(text).casefold()
