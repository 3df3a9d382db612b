"""Attention of short rows: two batched products on a CPU, torch's kernel elsewhere, for padded rows and for packed ones.

On a CPU `scaled_dot_product_attention` copies keys and values for each query head and, with a mask, is slow forwards
and slower backwards; rows of one pair are so short that the scores [N, heads, T, T] cost little memory. Packed rows
(rows.pack) are padded for the attention alone: all else of the model runs on real tokens only.
Both are registered with transformers, as any attention of one's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flipkd.device import best_device
from flipkd.errors import ConfigError
from flipkd.student.packing import pad_rows, unpad_rows
from flipkd.student.rows import additive_mask

GROUPED = "flipkd_grouped"
PACKED = "flipkd_packed"
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
    """[1, total, heads, d] from query [1, heads, total, d] and key, value [1, groups, total, d] of packed rows.

    gather [N * T] and scatter [total] as rows.pack gives them, rows = N. attention_mask [N, 1, T, T] is true where a
    query may see a key; a mask of no elements stands for a causal one. Without `gather` the rows are padded.
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
        mask = _within(sliding_window, length, query.device) if mask is None else mask
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
    """Padded rows: torch's kernel on a GPU, which needs no mask for a causal pass; the grouped one on a CPU or with a softcap."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if query.device.type != "cpu" and softcap is None:
        output: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, mask, **other)
        return output
    if mask is None:
        length = query.shape[2]
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()[None, None]
    if mask.dtype == torch.bool:
        mask = additive_mask(mask, query.dtype)
    return grouped_attention(module, query, key, value, mask, softcap=softcap, **other)


def _within(window: int, length: int, device: torch.device) -> Tensor:
    """[1, 1, T, T] bool: causal, and no further back than the window."""
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return causal.triu(1 - window)[None, None]


def choose_attention(model: Any, wanted: str) -> None:
    """Set the attention of `model`: what is `wanted`, for AUTO packed rows on a GPU and GROUPED on a CPU.

    AUTO leaves a model as it is that does not take torch's own kernel, or whose layers need more than attention (packed
    rows would run into one another). Raises ConfigError where that is wanted all the same.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(GROUPED, grouped_attention)
    AttentionMaskInterface.register(GROUPED, eager_mask)
    AttentionInterface.register(PACKED, packed_attention)  # without a mask function: its masks are made here
    fits = model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation()
    packs = fits and only_attention(model.config)
    if wanted == PACKED and not packs:
        raise ConfigError(
            f"{type(model).__name__} cannot read rows without padding (attn_implementation={PACKED}); set it to auto"
        )
    if wanted == PACKED or (wanted == AUTO and best_device().startswith("cuda") and packs):
        model.set_attn_implementation(PACKED)
    elif wanted == GROUPED or (wanted == AUTO and best_device() == "cpu" and fits):
        model.set_attn_implementation(GROUPED)


def only_attention(config: Any) -> bool:
    """Whether all that a later token needs of earlier ones are their keys and values; a state-space layer has more."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    return all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in DynamicCache(config=config).layers
    )
