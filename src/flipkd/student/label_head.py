"""The two rows of the LM head that give the logits of the label words; logits of the other words are never computed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

LabelHead = tuple[Tensor, Tensor | None]  # weight [2, H] and bias [2], in float32


def label_head(language_model: Any, rows: Tensor) -> LabelHead:
    """Return weight and bias of the vocabulary rows [2] in the LM head of a causal LM."""
    head = language_model.get_output_embeddings()
    bias = None if getattr(head, "bias", None) is None else head.bias[rows].float()
    return head.weight[rows].float(), bias


def label_logits(hidden: Tensor, head: LabelHead, *, softcap: float | None) -> Tensor:
    """Compute the logits [N, 2] of final states [N, H] in float32, with the softcap of the model's config."""
    weight, bias = head
    with torch.autocast(hidden.device.type, enabled=False):  # it would round the product back to bfloat16
        logits = linear(hidden.float(), weight, bias)
    return logits if softcap is None else torch.tanh(logits / softcap) * softcap
