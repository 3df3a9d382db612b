"""What a repetition reports, how useful FLOPs are counted, and the machine's own rate in a large bfloat16 product.

Useful FLOPs, for a model whose body (no embeddings, no LM head) has P parameters in its linear layers, LoRA on all of
them with L parameters, and a width of `hidden`:

    scoring, merged     2 P tokens + 4 hidden pairs            4 hidden: the two rows of the LM head that are needed
    training, LoRA      (4 P + 6 L) tokens + 8 hidden pairs    forward and activation gradients of the frozen base;
                                                               LoRA also has gradients of its own weights

A multiplication and an addition are two. `tokens` are real ones: padding counts nothing, and what is read once for all
rows of a batch counts once. Attention's own products, norms and the optimiser count nothing, so a share is a lower bound
(of the first layer's activation gradients a part is not needed, which is well below 1 % the other way).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

GEMM_SIZE = 2048  # three matrices of 8 MB: large enough for the best rate, small enough for a short stop
GEMM_SECONDS = 1.0


@dataclass(frozen=True)
class Work:
    """One repetition: its time, what was done in it, and the scores if it gave any."""

    seconds: float
    pairs: int
    tokens: int
    flops: float
    scores: Sequence[float] | None = None


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, what the function returned)."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def body_parameters(model: Any) -> tuple[int, int]:
    """(P, L): weights of the linear layers in the body, and of the LoRA layers on them."""
    from flipkd.student.readout import linear_modules

    base = lora = 0
    for name in linear_modules(model):
        count = model.get_submodule(name).weight.numel()
        if ".lora_" in name:
            lora += count
        else:
            base += count
    return base, lora


def scoring_flops(model: Any, *, tokens: int, pairs: int) -> float:
    """Useful FLOPs of one pass over `tokens` with LoRA merged or absent."""
    base, _ = body_parameters(model)
    return float(2 * base * tokens + 4 * model.config.hidden_size * pairs)


def training_flops(model: Any, *, tokens: int, pairs: int) -> float:
    """Useful FLOPs of forward and backward over `tokens`; `model` has its LoRA layers in it."""
    base, lora = body_parameters(model)
    return float((4 * base + 6 * lora) * tokens + 8 * model.config.hidden_size * pairs)


def gemm(_task: Any) -> Callable[[int], Work]:
    """A contender: bfloat16 products of GEMM_SIZE squared for about GEMM_SECONDS; the number of pairs is ignored."""
    import torch

    left, right = (torch.randn(GEMM_SIZE, GEMM_SIZE).bfloat16() for _ in range(2))
    out = torch.empty_like(left)

    def repetition(_count: int) -> Work:
        start, done = time.perf_counter(), 0
        while (seconds := time.perf_counter() - start) < GEMM_SECONDS or not done:
            torch.mm(left, right, out=out)
            done += 1
        return Work(seconds, 0, 0, 2.0 * GEMM_SIZE**3 * done)

    return repetition
