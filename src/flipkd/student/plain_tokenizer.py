"""Tokenise texts so that no text becomes a control token, whatever it spells out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any


class PlainTokenizer:
    """A tokenizer that splits spelled-out special and added tokens (`</s>`, `<think>`) into ordinary ones."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        added = {
            token.content: id_ for id_, token in tokenizer.added_tokens_decoder.items() if not token.content.isspace()
        }
        self._control_words, self._control_ids = list(added), frozenset(added.values())

    def ids_of(self, text: str) -> list[int]:
        """Tokenise one text."""
        return self.ids([text])[0]

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Tokenise texts, without special tokens at their ends."""
        return [
            ids if self._control_ids.isdisjoint(ids) else self._ids_without_control(text)
            for text, ids in zip(texts, self._encoded(texts), strict=True)
        ]

    def _encoded(self, texts: list[str]) -> list[list[int]]:
        """Tokenise and split spelled-out special tokens; calling a fast tokenizer's backend halves the time."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            found = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            return [list(ids) for ids in found]
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]

    def _ids_without_control(self, text: str) -> list[int]:
        """Tokenise a text with an added token (`<think>`, ...) that the library does not split.

        The text is split after the first character of each such token, and the parts are tokenised alone.
        """
        parts, start = [], 0
        for found in self._control_spelling.finditer(text):
            parts.append(text[start : found.start() + 1])
            start = found.start() + 1
        parts = [part for part in [*parts, text[start:]] if part]
        return [token for ids in self._encoded(parts) for token in ids if token not in self._control_ids]

    @cached_property
    def _control_spelling(self) -> re.Pattern[str]:
        """The pattern of spelled-out control tokens; built on first use: Gemma has 6,000 of them, and few texts contain any."""
        # A lookahead also finds overlapping spellings.
        return re.compile(f"(?={pattern_of(self._control_words)})" if self._control_words else "(?!)")


def pattern_of(words: Sequence[str]) -> str:
    """Return a pattern for the shortest of the words at a position, as a tree: in a flat pattern each of 6,000 would be tried."""
    if "" in words:
        return ""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[0], []).append(word)
    branches = []
    for group in groups.values():
        first, last = min(group), max(group)  # the common prefix of these two is that of all
        shared = next((at for at, letter in enumerate(first) if letter != last[at]), len(first))
        branches.append(re.escape(first[:shared]) + pattern_of([word[shared:] for word in group]))
    return f"(?:{'|'.join(branches)})"
