"""Build rows of token ids from pairs of texts: template, label words in context, truncation of the texts only.

Each part (instruction, heads, texts, question) is tokenised alone; their ids are concatenated. So a text's ids do not depend
on its neighbours, spans are known exactly, each unique text is tokenised once, and the template is never truncated.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flipkd.errors import ConfigError, DataError, shorten
from flipkd.student.glossary import Glossary
from flipkd.student.plain_tokenizer import PlainTokenizer
from flipkd.student.rows import INSTRUCTION, LEFT_HEAD, LEFT_TEXT, QUESTION, RIGHT_HEAD, RIGHT_TEXT, Row
from flipkd.text import composed, folded, is_empty, truncate_text

READINGS = ("joint", "separate", "blocked")
# Size of the cache of tokenised texts, in texts and in bytes. A cache that is larger is emptied.
CACHED_TEXTS, CACHED_BYTES = 2**16, 2**28
WINDOW = 4096  # pairs that are tokenised together
BYTES_PER_TOKEN = 40  # in a list of Python integers
# Texts are truncated before tokenising, because a tokenizer reads all of a text before it truncates.
CHARACTERS_PER_TOKEN = 16


@dataclass(frozen=True)
class Template:
    """The prompt template: the text around the two texts, and the two label words."""

    instruction: str = "Do two texts match?\n"
    left: str = "A:\n"  # a head that ends with a line break does not change the first token of the text
    right: str = "\nB:\n"
    question: str = "\nMatch, yes or no:"
    no: str = " no"
    yes: str = " yes"


class Prompt:
    """Build rows of token ids from pairs and from single texts, for one tokenizer, template and `reading`."""

    def __init__(
        self,
        tokenizer: Any,
        template: Template,
        *,
        reading: str = "joint",
        max_text_length: int = 128,
        normalise: bool = True,
        glossary: Glossary | None = None,
    ) -> None:
        """Tokenise template and label words.

        `normalise`: use the normal form of texts (flipkd/text.py), without line breaks. `glossary`: definitions to add to them.
        """
        if reading not in READINGS:
            raise ConfigError(f"reading is {reading!r}; allowed: {', '.join(READINGS)}")
        if max_text_length < 1:
            raise ConfigError(f"max_text_length is {max_text_length}; it must be at least 1 token")
        self.tokenizer, self.template, self.reading = tokenizer, template, reading
        self.max_text_length, self.normalise, self.glossary = max_text_length, normalise, glossary
        self._plain = PlainTokenizer(tokenizer)
        begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        self.instruction = begin + self._plain.ids_of(template.instruction)
        self.left_head = self._plain.ids_of(template.left)
        # In blocked reading a text must have the same row on either side, so both sides have the left head.
        self.right_head = self.left_head if reading == "blocked" else self._plain.ids_of(template.right)
        self.question = self._plain.ids_of(template.question)
        self.label_ids = (self._label_id(template.no), self._label_id(template.yes))
        if self.label_ids[0] == self.label_ids[1]:
            raise ConfigError(
                f"the label words {template.no!r} and {template.yes!r} are the same token; choose two different words"
            )
        self._texts: dict[str, tuple[list[int], bool]] = {}
        self._bytes = 0

    @property
    def padding_id(self) -> int:
        """The token id of padding; padding is masked, so any id of the vocabulary is valid."""
        for candidate in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if candidate is not None:
                return int(candidate)
        return 0

    def text_ids(self, texts: Sequence[str]) -> list[tuple[list[int], bool]]:
        """Tokenise texts: (ids, truncated) of each. Results are cached, and no text becomes a control token.

        Raises DataError for a text without tokens (empty, or only characters that the tokenizer drops).
        """
        if len(self._texts) > CACHED_TEXTS or self._bytes > CACHED_BYTES:
            self._texts, self._bytes = {}, 0
        clipped = {text: self.clip_text(text) for text in dict.fromkeys(texts)}
        missing = [text for text in dict.fromkeys(start for start, _ in clipped.values()) if text not in self._texts]
        enriched = missing if self.glossary is None else [self.glossary.enrich(text) for text in missing]
        for text, ids in zip(missing, self._plain.ids(enriched) if missing else [], strict=True):
            if is_empty(text) or not ids:
                raise DataError(f"text {shorten(text)} is empty; every text needs at least one visible character")
            truncated = ids[: self.max_text_length]
            self._texts[text] = (truncated, len(ids) > len(truncated))
            self._bytes += sys.getsizeof(text) + BYTES_PER_TOKEN * len(truncated)
        found = ((*self._texts[start], is_longer) for start, is_longer in map(clipped.__getitem__, texts))
        return [(ids, is_truncated or is_longer) for ids, is_truncated, is_longer in found]

    def clip_text(self, text: str, *, least: int = 0) -> tuple[str, bool]:
        """Return the start of a text, long enough for `max_text_length` tokens and normalised, and whether the text is longer.

        `least`: characters that another model needs of it.
        """
        most = max(self.max_text_length * CHARACTERS_PER_TOKEN, least)
        if not self.normalise:
            return truncate_text(text, most), len(text) > most
        text = folded(text)
        return composed(text[:most]), len(text) > most

    def pair_rows(self, left: Sequence[str], right: Sequence[str]) -> list[Row]:
        """Build one row per pair; it ends with the question, so the answer is predicted at the last position."""
        sides = zip(self.text_ids(left), self.text_ids(right), strict=True)
        return [self._pair_row(a, b) for (a, _), (b, _) in sides]

    def pair_lengths(self, left: Sequence[str], right: Sequence[str]) -> list[int]:
        """Count the tokens of both texts of each pair, to sort rows by length; the template has the same length in all."""
        lengths = []
        for start in range(0, len(left), WINDOW):  # in windows, so that the ids of all texts are not in memory at once
            window = slice(start, start + WINDOW)
            sides = zip(self.text_ids(left[window]), self.text_ids(right[window]), strict=True)
            lengths += [len(a) + len(b) for (a, _), (b, _) in sides]
        return lengths

    def truncated(self, texts: Sequence[str]) -> int:
        """Count the texts that are truncated to `max_text_length` tokens."""
        windows = (texts[start : start + WINDOW] for start in range(0, len(texts), WINDOW))
        return sum(is_truncated for window in windows for _, is_truncated in self.text_ids(window))

    @property
    def head(self) -> Row:
        """The first tokens of every row, of a pair or of a text alone: instruction and left head."""
        ids = self.instruction + self.left_head
        segment = [INSTRUCTION] * len(self.instruction) + [LEFT_HEAD] * len(self.left_head)
        return Row(ids, segment, list(range(len(ids))))

    @property
    def longest(self) -> int:
        """The greatest length of a row in tokens."""
        return len(self.head) + len(self.right_head) + len(self.question) + 2 * self.max_text_length

    def text_rows(self, texts: Sequence[str]) -> list[Row]:
        """Build one row per text alone: instruction, left head, text."""
        head, rows = self.head, []
        for ids, _ in self.text_ids(texts):
            row = head.ids + ids
            rows.append(Row(row, head.segment + [LEFT_TEXT] * len(ids), list(range(len(row)))))
        return rows

    def _pair_row(self, left: list[int], right: list[int]) -> Row:
        parts = (
            (self.instruction, INSTRUCTION),
            (self.left_head, LEFT_HEAD),
            (left, LEFT_TEXT),
            (self.right_head, RIGHT_HEAD),
            (right, RIGHT_TEXT),
            (self.question, QUESTION),
        )
        ids = [token for part, _ in parts for token in part]
        segment = [kind for part, kind in parts for _ in part]
        if self.reading != "blocked":
            return Row(ids, segment, list(range(len(ids))))
        start = len(self.instruction)
        left_end = start + len(self.left_head) + len(left)
        right_end = start + len(self.right_head) + len(right)
        end = max(left_end, right_end)
        position = [*range(left_end), *range(start, right_end), *range(end, end + len(self.question))]
        return Row(ids, segment, position)

    def _label_id(self, word: str) -> int:
        """Return the token that `word` adds after the question. Raises ConfigError unless it is exactly one."""
        with_word = self._plain.ids_of(self.template.question + word)
        before = len(self.question)
        if with_word[:before] != self.question or len(with_word) != before + 1:
            added = self.tokenizer.convert_ids_to_tokens(with_word[before:])
            raise ConfigError(
                f"the label word {word!r} adds the tokens {added} after the question {self.template.question!r}; it must add "
                f"exactly one token and change none before it: use another word, or add or remove the space before it"
            )
        return with_word[-1]


def template_from(values: Mapping[str, str]) -> Template:
    """Build a template from the fields in matcher.json or YAML. Raises ConfigError for an unknown field."""
    unknown = set(values) - set(Template.__dataclass_fields__)
    if unknown:
        raise ConfigError(
            f"template has no field {sorted(unknown)[0]!r}; its fields are {', '.join(Template.__dataclass_fields__)}"
        )
    return Template(**dict(values))
