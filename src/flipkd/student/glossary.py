"""Glossary: definitions of terms, added to the texts in which the terms occur."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from flipkd.text import caseless, normal_text

MAX_CHARACTERS = 300
_START = re.compile(r"(?<!\w)(?:\w+|[^\w\s])")  # of a term: a word, or a character that is neither letter nor digit


class Glossary:
    """Definitions by term, and the maximum length of what is added to a text; a term may have several definitions."""

    def __init__(self, definitions: Mapping[str, Sequence[str]], *, max_characters: int = MAX_CHARACTERS) -> None:
        self.max_characters = max_characters
        self._known: dict[str, list[str]] = {}
        for term, found in definitions.items():
            self._known.setdefault(caseless(term), []).extend(map(normal_text, found))
        # By the first word: a pattern of all terms would try each of them at each word of a text.
        self._lengths: dict[str, list[int]] = {}
        for term in self._known:
            if start := _START.match(term):
                self._lengths.setdefault(start[0], []).append(len(term))
        self._lengths = {start: sorted(set(found), reverse=True) for start, found in self._lengths.items()}

    def enrich(self, text: str) -> str:
        """Add `(term: definition; ...)` for the terms of the text in their order, at most `max_characters` long.

        A definition that does not fit is left out; a text without a term is returned unchanged.
        """
        if not self._lengths:
            return text
        notes: list[str] = []
        left = self.max_characters - 3  # a space and two brackets
        for term in dict.fromkeys(self._terms(caseless(text))):
            for definition in self._known[term]:
                note = f"{term}: {definition}"
                if len(note) + 2 * bool(notes) <= left:
                    left -= len(note) + 2 * bool(notes)
                    notes.append(note)
        return f"{text} ({'; '.join(notes)})" if notes else text

    def _terms(self, text: str) -> Iterator[str]:
        """Iterate over the terms of a text, each as whole words; at one place the longest."""
        end = 0
        for start in _START.finditer(text):
            for length in self._lengths.get(start[0], ()) if start.start() >= end else ():
                after = start.start() + length
                term = text[start.start() : after]
                if term in self._known and not re.match(r"\w", text[after : after + 1]):
                    yield term
                    end = after
                    break
