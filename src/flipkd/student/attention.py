"""Attention for short rows, padded or packed: two batched matrix products on a CPU, torch's kernel on a GPU.

On a CPU `scaled_dot_product_attention` copies keys and values for each query head and, with a mask, is slow in the forward
and slower in the backward pass. Rows of one pair are short, so the scores [N, heads, T, T] need little memory. Packed rows
(rows.pack) are padded for the attention only: the rest of the model runs on real tokens.
Both functions are registered with transformers as custom attention implementations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask

from flipkd.device import best_device
from flipkd.errors import ConfigError
from flipkd.student.packing import pad_rows, unpad_rows
from flipkd.student.rows import additive_mask

GROUPED = "flipkd_grouped"
PACKED = "flipkd_packed"
AUTO = "auto"
IGNORED_ARGUMENTS = frozenset(
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
    """Attend: query [N, heads, T, d] and key, value [N, groups, T, d] -> [N, T, heads, d]; the mask is added to the scores.

    The query heads of one group become rows of one product, so keys and values are never copied. Raises ConfigError
    for attention with further tensors (sinks, position biases).
    """
    unsupported = [
        name for name, given in other.items() if isinstance(given, Tensor) and name not in IGNORED_ARGUMENTS
    ]
    if unsupported:
        raise ConfigError(
            f"{type(module).__name__} passes {unsupported[0]!r} to its attention, which {GROUPED} does not support; "
            "set attn_implementation to eager"
        )
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


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    gather: Tensor | None = None,
    scatter: Tensor | None = None,
    rows: int = 0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    """Attend in packed rows: query [1, heads, total, d] and key, value [1, groups, total, d] -> [1, total, heads, d].

    gather [N * T] and scatter [total] come from rows.pack; rows = N. attention_mask [N, 1, T, T] is true where a query
    may attend to a key; an empty mask means causal attention. Without `gather` the rows are already padded.
    """
    if gather is None or scatter is None:
        return _padded_attention(module, query, key, value, attention_mask, softcap=softcap, **other)
    query, key, value = (
        pad_rows(part[0].transpose(0, 1), gather, scatter).view(rows, -1, part.shape[1], part.shape[3]).transpose(1, 2)
        for part in (query, key, value)
    )
    mask = None if attention_mask is None or attention_mask.numel() == 0 else attention_mask
    length = query.shape[2]
    if sliding_window is not None and length > sliding_window:
        mask = _sliding_window_mask(sliding_window, length, query.device) if mask is None else mask
    mixed, _ = _padded_attention(module, query, key, value, mask, softcap=softcap, **other)
    return unpad_rows(mixed.flatten(0, 1), gather, scatter)[None], None


def _padded_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    softcap: float | None,
    **other: Any,
) -> tuple[Tensor, None]:
    """Attend in padded rows: torch's kernel on a GPU (no mask if causal), `grouped_attention` on a CPU or with a softcap."""
    if query.device.type != "cpu" and softcap is None:
        output: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, mask, **other)
        return output
    if mask is None:
        length = query.shape[2]
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()[None, None]
    if mask.dtype == torch.bool:
        mask = additive_mask(mask, query.dtype)
    return grouped_attention(module, query, key, value, mask, softcap=softcap, **other)


def _sliding_window_mask(window: int, length: int, device: torch.device) -> Tensor:
    """[1, 1, T, T] bool: causal, and no further back than the window."""
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return causal.triu(1 - window)[None, None]


def choose_attention(model: Any, implementation: str) -> None:
    """Set the attention of `model` to `implementation`; AUTO means PACKED on a GPU and GROUPED on a CPU.

    AUTO leaves a model unchanged that does not support torch's kernel. On a GPU it also leaves one whose layers are not all
    attention: packed rows would mix in them. Raises ConfigError when PACKED is requested for such a model.
    """
    AttentionInterface.register(GROUPED, grouped_attention)
    AttentionMaskInterface.register(GROUPED, eager_mask)
    AttentionInterface.register(PACKED, packed_attention)  # no mask function: the masks are made here
    supported = model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation()
    packable = supported and has_only_attention(model.config)
    if implementation == PACKED and not packable:
        raise ConfigError(
            f"{type(model).__name__} does not support packed rows (attn_implementation={PACKED}); set attn_implementation to auto"
        )
    if implementation == PACKED or (implementation == AUTO and best_device().startswith("cuda") and packable):
        model.set_attn_implementation(PACKED)
    elif implementation == GROUPED or (implementation == AUTO and best_device() == "cpu" and supported):
        model.set_attn_implementation(GROUPED)


def has_only_attention(config: Any) -> bool:
    """Return true if keys and values are the only state that a layer passes between tokens; state-space layers have more."""
    return all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in DynamicCache(config=config).layers
    )
