"""How many rows and tokens go into one pass of scoring: by the processor's cache or by the GPU's free memory."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from flipkd.student.model import Student

CPU_ROWS, CPU_TOKENS = 32, 1024  # what outgrows a CPU's cache is slower per token (docs/performance.md)
GPU_TOKENS = 2**17  # each pass costs the host some ten milliseconds, however many tokens are in it
SHARE = 0.5  # of the free memory; the rest is for what is not counted here


@dataclass(frozen=True)
class BatchLimits:
    """At most so many rows and so many tokens, padding counted, in one pass."""

    rows: int
    tokens: int

    @classmethod
    def of(cls, student: Student, batch_size: int | None) -> BatchLimits:
        """The limits for `student` where it is; `batch_size` rows when they are given."""
        if student.device.type != "cuda":
            return cls(CPU_ROWS if batch_size is None else batch_size, CPU_TOKENS)
        rows = sys.maxsize if batch_size is None else batch_size
        return cls(rows, min(GPU_TOKENS, max(_fitting_tokens(student), 1)))


def _fitting_tokens(student: Student) -> int:
    free, _ = torch.cuda.mem_get_info(student.device)
    unused = torch.cuda.memory_reserved(student.device) - torch.cuda.memory_allocated(student.device)
    return int(SHARE * (free + unused)) // bytes_per_token(student.language_model.config)


def bytes_per_token(config: object) -> int:
    """Bytes that a pass without gradients holds per token at its peak: one layer's, and hidden states in float32."""

    def size(name: str, default: int) -> int:
        return int(getattr(config, name, None) or default)

    hidden = size("hidden_size", 4096)
    inner, heads = size("intermediate_size", 4 * hidden), size("num_attention_heads", 1)
    width = size("head_dim", hidden // heads)
    # Of an MLP gate, up and their product; of attention queries, keys and values, packed and padded, and the outputs.
    return (
        2 * (3 * inner + 4 * hidden + 4 * heads * width + 4 * size("num_key_value_heads", heads) * width) + 8 * hidden
    )
