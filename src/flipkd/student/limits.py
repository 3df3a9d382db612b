"""Limits on rows and tokens of one scoring pass, from the CPU's cache or the GPU's free memory."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from flipkd import ranks

if TYPE_CHECKING:
    from flipkd.student.model import Student

CPU_ROWS, CPU_TOKENS = 32, 1024  # larger batches outgrow a CPU's cache and are slower per token (docs/performance.md)
GPU_TOKENS = 2**17  # each pass costs the host about ten milliseconds, however many tokens it has
SHARE = 0.5  # of the free memory; the rest is for allocations that are not counted here


@dataclass(frozen=True)
class BatchLimits:
    """The most rows and tokens of one pass; padding counts as tokens."""

    rows: int
    tokens: int

    @classmethod
    def of(cls, student: Student, batch_size: int | None) -> BatchLimits:
        """Return the limits for `student` on its device; `batch_size`, if given, limits the rows."""
        if student.device.type != "cuda":
            return cls(CPU_ROWS if batch_size is None else batch_size, CPU_TOKENS)
        rows = sys.maxsize if batch_size is None else batch_size
        tokens = min(GPU_TOKENS, max(_tokens_in_memory(student), 1))
        return cls(rows, ranks.broadcast(tokens) if student.sharded else tokens)  # all ranks then run equal passes


def _tokens_in_memory(student: Student) -> int:
    free, _ = torch.cuda.mem_get_info(student.device)
    unused = torch.cuda.memory_reserved(student.device) - torch.cuda.memory_allocated(student.device)
    return int(SHARE * (free + unused)) // bytes_per_token(student.language_model.config)


def bytes_per_token(config: object) -> int:
    """Return the peak bytes per token of a pass without gradients: one layer, and hidden states in float32."""

    def size(name: str, default: int) -> int:
        return int(getattr(config, name, None) or default)

    hidden = size("hidden_size", 4096)
    inner, heads = size("intermediate_size", 4 * hidden), size("num_attention_heads", 1)
    width = size("head_dim", hidden // heads)
    # MLP: gate, up and their product. Attention: queries, keys and values, packed and padded, and the outputs.
    return (
        2 * (3 * inner + 4 * hidden + 4 * heads * width + 4 * size("num_key_value_heads", heads) * width) + 8 * hidden
    )
