"""Blocked reading in two parts: a text's keys and values are computed once, and per pair only the question is read.

In blocked reading neither text sees the other and both begin at the same position, so what the model makes of a text is
the same in every pair and on either side (*ours*). Where texts repeat (a query and its candidates, questions of an FAQ)
most of the work falls away; the scores are those of reading each pair whole.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flipkd.batching import batches_by_length
from flipkd.student.limits import BatchLimits
from flipkd.student.model import Student, StudentOutput
from flipkd.student.prefix import Prefix, drop_prefix
from flipkd.student.rows import INSTRUCTION, LEFT_TEXT, PADDING, QUESTION, RIGHT_TEXT, Row, pad, to_device

LIMIT = 2**28  # bytes of keys and values that are kept: about 900 short texts of a model of 270 million parameters


@dataclass(frozen=True)
class TextState:
    """Keys and values of a text behind the instruction, [2, layers, heads, T, d], and its unit vector [D]."""

    keys_values: Tensor
    vector: Tensor

    @property
    def size(self) -> int:
        """Bytes."""
        return self.keys_values.numel() * self.keys_values.element_size()


class TextStates:
    """What a student with blocked reading makes of texts; the least recently used are forgotten beyond `limit` bytes."""

    def __init__(self, student: Student, *, limit: int = LIMIT) -> None:
        self.student, self.limit = student, limit
        self._kept: OrderedDict[str, TextState] = OrderedDict()
        self._size = 0
        self._instruction: Prefix | None = None

    @torch.no_grad()
    def read(self, left: Sequence[str], right: Sequence[str], *, batch_size: int | None = None) -> StudentOutput:
        """Answers [N, 2] and vectors [N, D] of N pairs."""
        states = self._states([*left, *right], batch_size=batch_size)
        ours, theirs = [states[text] for text in left], [states[text] for text in right]
        cache, before = self._cache(ours, theirs)
        question = self.student.prompt.question
        lengths = torch.tensor(
            [max(a.keys_values.shape[3], b.keys_values.shape[3]) for a, b in zip(ours, theirs, strict=True)]
        )
        start = len(self.student.prompt.instruction) + lengths
        batch = {
            "input_ids": torch.tensor([question]).expand(len(left), -1),
            "segment": torch.full((len(left), len(question)), QUESTION),
            "position_ids": start[:, None] + torch.arange(len(question)),
        }
        hidden = self.student.hidden(to_device(batch, self.student.device), cache=cache, before=before)
        answers = self.student.answer(hidden[:, -1])
        return StudentOutput(answers, *(torch.stack([state.vector for state in side]) for side in (ours, theirs)))

    def _states(self, texts: Sequence[str], *, batch_size: int | None) -> dict[str, TextState]:
        wanted = list(dict.fromkeys(texts))
        found = {text: self._kept[text] for text in wanted if text in self._kept}
        rows = {
            text: row
            for text, row in zip(wanted, self.student.prompt.text_rows(wanted), strict=True)
            if text not in found
        }
        missing, limits = list(rows), BatchLimits.of(self.student, batch_size)
        lengths = [len(row) for row in rows.values()]
        for batch in batches_by_length(lengths, limits.rows, most_tokens=limits.tokens):
            chunk = [missing[at] for at in batch]
            found |= dict(zip(chunk, self._read_alone([rows[text] for text in chunk]), strict=True))
        for text in wanted:
            self._keep(text, found[text])
        return found

    def _keep(self, text: str, state: TextState) -> None:
        if text not in self._kept:
            self._size += state.size
        self._kept[text] = state
        self._kept.move_to_end(text)
        while self._size > self.limit and self._kept:
            self._size -= self._kept.popitem(last=False)[1].size

    def _read_alone(self, rows: Sequence[Row]) -> list[TextState]:
        student, instruction = self.student, self._read_instruction(rows[0])
        rest = [drop_prefix(row, len(instruction.segment)) for row in rows]
        batch = to_device(pad(rest, padding_id=student.prompt.padding_id), student.device)
        cache = instruction.repeated(len(rows))
        student.readout.start()
        student.hidden(batch, cache=cache, before=instruction.segment)
        vectors = student.readout.pooled(batch["segment"] == LEFT_TEXT)[0]
        both = _stacked(cache)
        start = len(instruction.segment)
        return [
            TextState(both[:, :, at, :, start : start + len(row)].clone(), vectors[at]) for at, row in enumerate(rest)
        ]

    def _read_instruction(self, row: Row) -> Prefix:
        if self._instruction is None:
            length = len(self.student.prompt.instruction)
            self._instruction = self.student.read_prefix(
                Row(row.ids[:length], row.segment[:length], row.position[:length])
            )
        return self._instruction

    def _cache(self, left: Sequence[TextState], right: Sequence[TextState]) -> tuple[Any, Tensor]:
        """Instruction, left and right texts of each pair side by side as the model's cache, and their segments [N, S]."""
        if self._instruction is None:
            raise ValueError("the instruction is read with the first text")
        head = _stacked(self._instruction.cache)[:, :, 0]
        sides = [(LEFT_TEXT, left), (RIGHT_TEXT, right)]
        longest = [max(state.keys_values.shape[3] for state in states) for _, states in sides]
        _, layers, heads, length, width = head.shape
        whole = head.new_zeros(2, layers, len(left), heads, length + sum(longest), width)
        segment = torch.full((len(left), whole.shape[4]), PADDING, device=whole.device)
        whole[:, :, :, :, :length], segment[:, :length] = head[:, :, None], INSTRUCTION
        end = length
        for room, (kind, states) in zip(longest, sides, strict=True):
            end += room
            for at, state in enumerate(states):
                start = end - state.keys_values.shape[3]
                whole[:, :, at, :, start:end], segment[at, start:end] = state.keys_values, kind
        return self._instruction.replaced(whole), segment


def text_states(student: Student) -> TextStates | None:
    """States for a student that reads blocked; None for another reading, or where there is nothing to build them on.

    That is when no token stands before the texts, or when the model's layers keep unlike things of a token.
    """
    instruction = student.prompt.instruction
    if student.prompt.reading != "blocked" or not instruction or not student.supports_prefix_cache:
        return None
    row = Row(instruction, [INSTRUCTION] * len(instruction), list(range(len(instruction))))
    with torch.no_grad(), student.eager_mode():
        read = student.read_prefix(row)
    alike = len({layer.keys.shape for layer in read.cache.layers}) == 1
    return TextStates(student) if alike else None


def _stacked(cache: Any) -> Tensor:
    """Keys and values of all layers, [2, layers, N, heads, T, d]."""
    return torch.stack([torch.stack([getattr(layer, part) for layer in cache.layers]) for part in ("keys", "values")])
