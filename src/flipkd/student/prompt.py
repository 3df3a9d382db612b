"""From two texts to one row of token ids: template, label words in context, truncation of the texts only.

Every piece (instruction, heads, texts, question) is tokenised alone and joined as ids. So a text's ids never depend on
its neighbours, spans are known exactly, each unique text is tokenised once, and the template is never cut.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flipkd.errors import ConfigError, DataError, shorten
from flipkd.student.rows import INSTRUCTION, LEFT_HEAD, LEFT_TEXT, QUESTION, RIGHT_HEAD, RIGHT_TEXT, Row
from flipkd.text import composed, folded, is_empty, truncate_text

READINGS = ("joint", "separate", "blocked")
# Tokenised texts that are remembered, by number and in bytes; beyond, all are forgotten and tokenised when they return.
TEXTS_KEPT, BYTES_KEPT = 2**16, 2**28
WINDOW = 4096  # pairs whose lengths are looked at together
BYTES_PER_TOKEN = 40  # of a list of Python's numbers
CHARACTERS_PER_TOKEN = 16  # texts are cut here before tokenising: truncation by the tokenizer does not bound its work


@dataclass(frozen=True)
class Template:
    """The words around the two texts, and the two words that may be answered."""

    instruction: str = "Do two texts match?\n"
    left: str = "A:\n"  # a head that ends a line leaves the text its natural first token
    right: str = "\nB:\n"
    question: str = "\nMatch, yes or no:"
    no: str = " no"
    yes: str = " yes"


class Prompt:
    """Turns pairs and single texts into rows of token ids for one tokenizer, template and reading."""

    def __init__(
        self,
        tokenizer: Any,
        template: Template,
        *,
        reading: str = "joint",
        max_text_length: int = 128,
        normalise: bool = True,
    ) -> None:
        """`normalise`: texts are read in their normal form (flipkd/text.py), in which no text holds a line break."""
        if reading not in READINGS:
            raise ConfigError(f"reading is {reading!r}; allowed: {', '.join(READINGS)}")
        if max_text_length < 1:
            raise ConfigError(f"max_text_length is {max_text_length}; at least 1 token of each text must stay")
        self.tokenizer, self.template, self.reading = tokenizer, template, reading
        self.max_text_length, self.normalise = max_text_length, normalise
        added = {
            token.content: id_ for id_, token in tokenizer.added_tokens_decoder.items() if not token.content.isspace()
        }
        self._control_words, self._control = list(added), frozenset(added.values())
        begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        self.instruction = begin + self._plain(template.instruction)
        self.left_head = self._plain(template.left)
        # A text read alone must look the same on either side, so blocked reading gives both the left head.
        self.right_head = self.left_head if reading == "blocked" else self._plain(template.right)
        self.question = self._plain(template.question)
        self.label_ids = (self._label_id(template.no), self._label_id(template.yes))
        if self.label_ids[0] == self.label_ids[1]:
            raise ConfigError(
                f"the label words {template.no!r} and {template.yes!r} begin with the same token; choose others"
            )
        self._texts: dict[str, tuple[list[int], bool]] = {}
        self._bytes = 0

    @property
    def padding_id(self) -> int:
        """An id to fill with; padding is masked, so any id of the vocabulary will do."""
        for candidate in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if candidate is not None:
                return int(candidate)
        return 0

    def text_ids(self, texts: Sequence[str]) -> list[tuple[list[int], bool]]:
        """(ids, truncated) of each text; a text is tokenised once, and never becomes a control token.

        Raises DataError for a text that leaves no token (empty, or only characters the tokenizer drops).
        """
        if len(self._texts) > TEXTS_KEPT or self._bytes > BYTES_KEPT:
            self._texts, self._bytes = {}, 0
        looked_at = {text: self.looked_at(text) for text in dict.fromkeys(texts)}
        missing = [text for text in dict.fromkeys(shown for shown, _ in looked_at.values()) if text not in self._texts]
        for text, ids in zip(missing, self._ids(missing) if missing else [], strict=True):
            if is_empty(text) or not ids:
                raise DataError(f"text {shorten(text)} is empty; every text needs at least one visible character")
            kept = ids[: self.max_text_length]
            self._texts[text] = (kept, len(ids) > len(kept))
            self._bytes += sys.getsizeof(text) + BYTES_PER_TOKEN * len(kept)
        found = ((*self._texts[shown], cut) for shown, cut in map(looked_at.__getitem__, texts))
        return [(ids, longer or cut) for ids, longer, cut in found]

    def looked_at(self, text: str) -> tuple[str, bool]:
        """The part of a text that can hold its first `max_text_length` tokens, normalised, and whether there is more."""
        most = self.max_text_length * CHARACTERS_PER_TOKEN
        if not self.normalise:
            return truncate_text(text, most), len(text) > most
        text = folded(text)
        return composed(text[:most]), len(text) > most

    def pair_rows(self, left: Sequence[str], right: Sequence[str]) -> list[Row]:
        """One row per pair, ending in the question, so that the answer stands at the last position."""
        sides = zip(self.text_ids(left), self.text_ids(right), strict=True)
        return [self._pair_row(a, b) for (a, _), (b, _) in sides]

    def pair_lengths(self, left: Sequence[str], right: Sequence[str]) -> list[int]:
        """Tokens of both texts of each pair: what rows of one batch should have in common, the template being the same."""
        lengths = []
        for start in range(0, len(left), WINDOW):  # by windows, so that not all texts' ids are in memory at once
            window = slice(start, start + WINDOW)
            sides = zip(self.text_ids(left[window]), self.text_ids(right[window]), strict=True)
            lengths += [len(a) + len(b) for (a, _), (b, _) in sides]
        return lengths

    def truncated(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than `max_text_length` tokens and are cut."""
        windows = (texts[start : start + WINDOW] for start in range(0, len(texts), WINDOW))
        return sum(cut for window in windows for _, cut in self.text_ids(window))

    @property
    def head(self) -> Row:
        """What every row begins with, of a pair as of a text alone: instruction and left head."""
        ids = self.instruction + self.left_head
        segment = [INSTRUCTION] * len(self.instruction) + [LEFT_HEAD] * len(self.left_head)
        return Row(ids, segment, list(range(len(ids))))

    @property
    def longest(self) -> int:
        """Tokens that a row can have at most."""
        return len(self.head) + len(self.right_head) + len(self.question) + 2 * self.max_text_length

    def text_rows(self, texts: Sequence[str]) -> list[Row]:
        """One row per text read alone: instruction, left head, text."""
        head, rows = self.head, []
        for ids, _ in self.text_ids(texts):
            row = head.ids + ids
            rows.append(Row(row, head.segment + [LEFT_TEXT] * len(ids), list(range(len(row)))))
        return rows

    def _pair_row(self, left: list[int], right: list[int]) -> Row:
        pieces = (
            (self.instruction, INSTRUCTION),
            (self.left_head, LEFT_HEAD),
            (left, LEFT_TEXT),
            (self.right_head, RIGHT_HEAD),
            (right, RIGHT_TEXT),
            (self.question, QUESTION),
        )
        ids = [token for piece, _ in pieces for token in piece]
        segment = [kind for piece, kind in pieces for _ in piece]
        if self.reading != "blocked":
            return Row(ids, segment, list(range(len(ids))))
        start = len(self.instruction)
        left_end = start + len(self.left_head) + len(left)
        right_end = start + len(self.right_head) + len(right)
        end = max(left_end, right_end)
        position = [*range(left_end), *range(start, right_end), *range(end, end + len(self.question))]
        return Row(ids, segment, position)

    @cached_property
    def _control_spelling(self) -> re.Pattern[str]:
        """Where a control token is spelt; made when it is needed, since Gemma has 6,000 of them and few texts any."""
        # A lookahead, so that spellings which overlap are all found.
        return re.compile(f"(?={_any_of(self._control_words)})" if self._control_words else "(?!)")

    def _plain(self, text: str) -> list[int]:
        return self._ids([text])[0]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return [
            ids if self._control.isdisjoint(ids) else self._without_control(text)
            for text, ids in zip(texts, self._encoded(texts), strict=True)
        ]

    def _encoded(self, texts: list[str]) -> list[list[int]]:
        """Ids of texts without special tokens, spelt-out ones split; straight from a fast tokenizer, in half the time."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            found = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            return [list(ids) for ids in found]
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]

    def _without_control(self, text: str) -> list[int]:
        """Tokenise text that spells an added token (`<think>`, ...) which `split_special_tokens` lets through.

        The text is cut behind the first character of each such spelling and the parts are tokenised alone.
        """
        parts, start = [], 0
        for found in self._control_spelling.finditer(text):
            parts.append(text[start : found.start() + 1])
            start = found.start() + 1
        parts = [part for part in [*parts, text[start:]] if part]
        return [token for ids in self._encoded(parts) for token in ids if token not in self._control]

    def _label_id(self, word: str) -> int:
        """The one token that `word` adds after the question; refused unless it is exactly one."""
        with_word = self._plain(self.template.question + word)
        before = len(self.question)
        if with_word[:before] != self.question or len(with_word) != before + 1:
            added = self.tokenizer.convert_ids_to_tokens(with_word[before:])
            raise ConfigError(
                f"the label word {word!r} adds {added} after the question {self.template.question!r}; it must add "
                f"exactly one token and change none before it: try another word, or another space before it"
            )
        return with_word[-1]


def _any_of(words: Sequence[str]) -> str:
    """A pattern that finds the shortest of the words at a place in a few steps: side by side each of 6,000 would be tried."""
    if "" in words:
        return ""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[0], []).append(word)
    branches = []
    for group in groups.values():
        first, last = min(group), max(group)  # what these two share, all share
        shared = next((at for at, letter in enumerate(first) if letter != last[at]), len(first))
        branches.append(re.escape(first[:shared]) + _any_of([word[shared:] for word in group]))
    return f"(?:{'|'.join(branches)})"


def template_from(values: Mapping[str, str]) -> Template:
    """A template from its fields, as matcher.json and YAML hold them. Raises ConfigError for a field it does not have."""
    unknown = set(values) - set(Template.__dataclass_fields__)
    if unknown:
        raise ConfigError(
            f"template has no field {sorted(unknown)[0]!r}; it has {', '.join(Template.__dataclass_fields__)}"
        )
    return Template(**dict(values))
