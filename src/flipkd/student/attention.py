"""Attention of short rows as two batched products: on a CPU several times faster than torch's fused kernel.

torch's `scaled_dot_product_attention` copies keys and values for each query head and, with a mask, is slow forwards
and slower backwards on a CPU; rows of one pair are so short that the scores [N, heads, T, T] cost little memory.
It is registered with transformers under the name GROUPED, as any attention of one's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flipkd.device import best_device
from flipkd.errors import ConfigError

GROUPED = "flipkd_grouped"
AUTO = "auto"
HARMLESS = frozenset(
    {"position_ids", "use_cache", "sliding_window", "is_causal", "cu_seq_lens_q", "output_attentions"}
)


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    """[N, T, heads, d] from query [N, heads, T, d] and key, value [N, groups, T, d]; the mask is added to the scores.

    The query heads of one group become rows of one product, so keys and values are never copied. Raises ConfigError
    for a kind of attention that needs more than this (sinks, position biases).
    """
    odd = [name for name, given in other.items() if isinstance(given, Tensor) and name not in HARMLESS]
    if odd:
        raise ConfigError(f"{type(module).__name__} gives its attention {odd[0]!r}; set attn_implementation to eager")
    rows, heads, length, width = query.shape
    groups = key.shape[1]
    folded = query.reshape(rows, groups, heads // groups * length, width)
    scores = torch.matmul(folded, key.transpose(2, 3)).view(rows, heads, length, -1)
    scores = scores * (width**-0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    mixed = torch.matmul(weights.view(rows, groups, heads // groups * length, -1), value)
    return mixed.view(rows, heads, length, -1).transpose(1, 2).contiguous(), None


def choose_attention(model: Any, wanted: str) -> None:
    """GROUPED on `model` when it is `wanted`, or wanted is AUTO, the device a CPU and the model takes torch's kernel too."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(GROUPED, grouped_attention)
    AttentionMaskInterface.register(GROUPED, eager_mask)
    fits = model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation()
    if wanted == GROUPED or (wanted == AUTO and best_device() == "cpu" and fits):
        model.set_attn_implementation(GROUPED)
