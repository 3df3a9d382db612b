"""Cache of encoded texts for blocked reading: keys and values per text, so that a pair costs only the question's tokens.

In blocked reading the texts do not attend to each other and both start at the same position, so the keys and values of a
text are the same in every pair and on either side (*ours*). Repeated texts (a query and its candidates, questions of an FAQ)
are encoded once; the scores equal those of complete rows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from flipkd.batching import batches_by_length
from flipkd.student.limits import BatchLimits
from flipkd.student.model import Student, StudentOutput
from flipkd.student.prefix import Prefix, drop_prefix
from flipkd.student.rows import INSTRUCTION, LEFT_TEXT, PADDING, QUESTION, RIGHT_TEXT, Row, pad, to_device

LIMIT = 2**28  # bytes of cached keys and values: about 900 short texts with a model of 270 million parameters


@dataclass(frozen=True)
class TextState:
    """Keys and values [2, layers, heads, T, d] of a text after the instruction, and its unit vector [D]."""

    keys_values: Tensor
    vector: Tensor

    @property
    def size(self) -> int:
        """Size of the keys and values in bytes."""
        return self.keys_values.numel() * self.keys_values.element_size()


class TextStateCache:
    """Cache of text states of a student with blocked reading; the least recently used are removed beyond `limit` bytes."""

    def __init__(self, student: Student, *, limit: int = LIMIT) -> None:
        self.student, self.limit = student, limit
        self._cached: OrderedDict[str, TextState] = OrderedDict()
        self._size = 0

    @torch.no_grad()
    def encode_pairs(
        self, left: Sequence[str], right: Sequence[str], *, batch_size: int | None = None
    ) -> StudentOutput:
        """Compute the answers [N, 2] and both embeddings [N, D] of N pairs."""
        states = self._encode_missing([*left, *right], batch_size=batch_size)
        left_states, right_states = [states[text] for text in left], [states[text] for text in right]
        cache, prefix_segment = self._join_states(left_states, right_states)
        question = self.student.prompt.question
        lengths = torch.tensor(
            [
                max(a.keys_values.shape[3], b.keys_values.shape[3])
                for a, b in zip(left_states, right_states, strict=True)
            ]
        )
        start = len(self.student.prompt.instruction) + lengths
        batch = {
            "input_ids": torch.tensor([question]).expand(len(left), -1),
            "segment": torch.full((len(left), len(question)), QUESTION),
            "position_ids": start[:, None] + torch.arange(len(question)),
        }
        hidden = self.student.hidden(to_device(batch, self.student.device), cache=cache, prefix_segment=prefix_segment)
        answers = self.student.answer(hidden[:, -1])
        vectors = (torch.stack([state.vector for state in side]) for side in (left_states, right_states))
        return StudentOutput(answers, *vectors)

    def _encode_missing(self, texts: Sequence[str], *, batch_size: int | None) -> dict[str, TextState]:
        unique = list(dict.fromkeys(texts))
        found = {text: self._cached[text] for text in unique if text in self._cached}
        rows = {
            text: row
            for text, row in zip(unique, self.student.prompt.text_rows(unique), strict=True)
            if text not in found
        }
        missing, limits = list(rows), BatchLimits.of(self.student, batch_size)
        lengths = [len(row) for row in rows.values()]
        for batch in batches_by_length(lengths, limits.rows, most_tokens=limits.tokens):
            chunk = [missing[index] for index in batch]
            found |= dict(zip(chunk, self._encode_texts([rows[text] for text in chunk]), strict=True))
        for text in unique:
            self._store(text, found[text])
        return found

    def _store(self, text: str, state: TextState) -> None:
        if text not in self._cached:
            self._size += state.size
        self._cached[text] = state
        self._cached.move_to_end(text)
        while self._size > self.limit and self._cached:
            self._size -= self._cached.popitem(last=False)[1].size

    def _encode_texts(self, rows: Sequence[Row]) -> list[TextState]:
        student, instruction = self.student, self._instruction
        start = len(instruction.segment)
        rest = [drop_prefix(row, start) for row in rows]
        batch = to_device(pad(rest, padding_id=student.prompt.padding_id), student.device)
        cache = instruction.repeated(len(rows))
        student.readout.start()
        student.hidden(batch, cache=cache, prefix_segment=instruction.segment)
        vectors = student.readout.pooled(batch["segment"] == LEFT_TEXT)[0]
        keys_values = _stack_layers(cache)
        return [
            TextState(keys_values[:, :, index, :, start : start + len(row)].clone(), vectors[index])
            for index, row in enumerate(rest)
        ]

    @cached_property
    def _instruction(self) -> Prefix:
        """The prefix of every text; encoded at the first use, since the weights may be converted before it."""
        return _encode_instruction(self.student)

    def _join_states(self, left: Sequence[TextState], right: Sequence[TextState]) -> tuple[Any, Tensor]:
        """Concatenate instruction, left and right text of each pair into one model cache; return it and its segments [N, S]."""
        head = _stack_layers(self._instruction.cache)[:, :, 0]
        sides = [(LEFT_TEXT, left), (RIGHT_TEXT, right)]
        longest = [max(state.keys_values.shape[3] for state in states) for _, states in sides]
        _, layers, heads, length, width = head.shape
        keys_values = head.new_zeros(2, layers, len(left), heads, length + sum(longest), width)
        segment = torch.full((len(left), keys_values.shape[4]), PADDING, device=keys_values.device)
        keys_values[:, :, :, :, :length], segment[:, :length] = head[:, :, None], INSTRUCTION
        end = length
        for side_length, (kind, states) in zip(longest, sides, strict=True):
            end += side_length
            for index, state in enumerate(states):
                start = end - state.keys_values.shape[3]
                keys_values[:, :, index, :, start:end], segment[index, start:end] = state.keys_values, kind
        return self._instruction.replaced(keys_values), segment


def text_states(student: Student) -> TextStateCache | None:
    """Return an empty cache for a student with blocked reading; None when it cannot be used.

    It needs at least one token before the texts, and layers that all have keys and values of the same shape.
    """
    prompt = student.prompt
    if prompt.reading != "blocked" or not prompt.instruction or not student.supports_prefix_cache:
        return None
    with torch.no_grad(), student.eager_mode():
        shapes = {layer.keys.shape for layer in _encode_instruction(student).cache.layers}
    return TextStateCache(student) if len(shapes) == 1 else None


def _encode_instruction(student: Student) -> Prefix:
    ids = student.prompt.instruction
    return student.encode_prefix(Row(ids, [INSTRUCTION] * len(ids), list(range(len(ids)))))


def _stack_layers(cache: Any) -> Tensor:
    """Stack the keys and values of all layers: [2, layers, N, heads, T, d]."""
    return torch.stack([torch.stack([getattr(layer, part) for layer in cache.layers]) for part in ("keys", "values")])
