"""What a new student is checked for before any work: that its answer is the model's own, and that blocked reading blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flipkd.errors import ConfigError
from flipkd.student.attention import GROUPED, PACKED
from flipkd.student.rows import pad, to_device

if TYPE_CHECKING:
    from flipkd.student.model import Student

BLOCKED_ATTENTION = (GROUPED, PACKED, "sdpa", "eager")


@torch.no_grad()
def check_student(student: Student) -> None:
    """Refuse a model whose two-row answer is not its own logits, or whose blocked reading leaks; one short pass each."""
    rows = student.prompt.pair_rows(["a b"], ["c"])
    batch = to_device(pad(rows, padding_id=student.prompt.padding_id), student.device)
    if student.prompt.reading == "blocked":
        _check_blocked(student)
    positions = getattr(student.language_model.config, "max_position_embeddings", None)
    if positions is not None and student.prompt.longest > positions:
        raise ConfigError(
            f"rows of up to {student.prompt.longest} tokens exceed the model's {positions} positions; "
            "lower max_text_length"
        )
    last = student.hidden(batch)[:, -1]
    with student.precision():
        own = student.language_model(
            input_ids=batch["input_ids"],
            attention_mask=student.mask(batch),
            position_ids=batch["position_ids"],
            logits_to_keep=1,
            use_cache=False,
        ).logits[:, -1, list(student.prompt.label_ids)]
    if not torch.allclose(student.answer(last), own.float(), rtol=0.02, atol=0.05):
        raise ConfigError(
            f"{type(student.language_model).__name__} computes its logits otherwise than as rows of its LM head times "
            "the last hidden state, which flipkd reads; this model is not supported"
        )


@torch.no_grad()
def find_shared_inputs(student: Student) -> None:
    """One short pass, in which layers that read the same tensor are found: every later pass then rounds in the same way."""
    if student.adapters.layers:
        batch = pad(student.prompt.pair_rows(["a"], ["b"]), padding_id=student.prompt.padding_id)
        student.hidden(to_device(batch, student.device))


def _check_blocked(student: Student) -> None:
    config = student.language_model.config
    if config._attn_implementation not in BLOCKED_ATTENTION:
        raise ConfigError(
            f"blocked reading needs a free attention mask, which {config._attn_implementation!r} does not take; "
            "set attn_implementation to sdpa or eager, or reading to joint or separate"
        )
    longest, window = student.prompt.longest, student.window()
    if longest > window:
        raise ConfigError(
            f"blocked reading of up to {longest} tokens exceeds the model's sliding window of {window}; "
            "lower max_text_length, or set reading to joint or separate"
        )
    right = []
    for left in ("a b", "x y"):
        batch = student.collate([left], ["c d"], return_embeddings=True)
        right.append(student(to_device(batch, student.device)).right)
    if not torch.allclose(right[0], right[1], atol=1e-2):
        raise ConfigError(
            f"blocked reading does not work with {type(student.language_model).__name__}: its right-hand text still "
            "sees the left-hand one; set reading to joint or separate"
        )
