"""Checks of a new student: its answer equals the model's own logits, and blocked reading hides the left text from the right."""

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
    """Raise ConfigError when the answer is not the model's own logits, when blocked reading leaks, or when rows are too long.

    Also for a padding token without an embedding. Each check takes at most one short pass.
    """
    _check_padding(student)
    rows = student.prompt.pair_rows(["a b"], ["c"])
    batch = to_device(pad(rows, padding_id=student.prompt.padding_id), student.device)
    if student.prompt.reading == "blocked":
        _check_blocked(student)
    positions = getattr(student.language_model.config, "max_position_embeddings", None)
    if positions is not None and student.prompt.longest > positions:
        raise ConfigError(
            f"rows of up to {student.prompt.longest} tokens exceed the model's {positions} positions; lower max_text_length"
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
            f"{type(student.language_model).__name__} is not supported: its logits are not the product of its LM head and the "
            "last hidden state, from which flipkd computes the answer; use another model"
        )


@torch.no_grad()
def find_shared_inputs(student: Student) -> None:
    """Run one short pass that groups the layers with the same input tensor, so that all later passes round alike."""
    if student.adapters.layers:
        batch = pad(student.prompt.pair_rows(["a"], ["b"]), padding_id=student.prompt.padding_id)
        student.hidden(to_device(batch, student.device))


def _check_padding(student: Student) -> None:
    padding, most = student.prompt.padding_id, student.language_model.get_input_embeddings().weight.shape[0]
    if padding >= most:  # usually a pad token that was added to the tokenizer alone
        token = student.prompt.tokenizer.convert_ids_to_tokens(padding)
        raise ConfigError(
            f"the pad token {token!r} of the tokenizer has id {padding}, but the model has embeddings only for ids below {most}; "
            "set pad_token in tokenizer_config.json to a token that the model has, such as its eos_token, or resize the "
            "embeddings with resize_token_embeddings"
        )


def _check_blocked(student: Student) -> None:
    config = student.language_model.config
    if config._attn_implementation not in BLOCKED_ATTENTION:
        raise ConfigError(
            f"reading is blocked, which needs a custom attention mask, but attn_implementation is "
            f"{config._attn_implementation!r}; set it to sdpa or eager, or set reading to joint or separate"
        )
    longest, window = student.prompt.longest, student.window()
    if longest > window:
        raise ConfigError(
            f"reading is blocked, and rows of up to {longest} tokens exceed the model's sliding window of {window}; "
            "lower max_text_length, or set reading to joint or separate"
        )
    right = []
    for left in ("a b", "x y"):
        batch = student.collate([left], ["c d"], return_embeddings=True)
        right.append(student(to_device(batch, student.device)).right)
    if not torch.allclose(right[0], right[1], atol=1e-2):
        raise ConfigError(
            f"reading is blocked, which {type(student.language_model).__name__} does not support: its right text still "
            "attends to the left one; set reading to joint or separate"
        )
