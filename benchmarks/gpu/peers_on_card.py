"""The peers of benchmarks/speed on the same card and pairs, timed as ours are."""

from __future__ import annotations

from typing import Any

import peers
from bench import Bench, fitting
from clock import ENDLESS, watching
from scoring import repeated
from training import clock_of, whole_batches
from workload import Task, load_prompt, real_tokens

PACKED_TOKENS = 1024  # of a packed row, TRL's default


def train(
    bench: Bench, *, model: str, peer: str, batch: int | None = None, tokens: int | None = None
) -> dict[str, Any]:
    """TRL's SFTTrainer, plain or packed, or sentence-transformers' trainer, with as many pairs per step as ours."""
    peers.need("trl" if peer.startswith("trl") else "sentence_transformers")
    task = bench.task(model)
    given = bench.batch(task, batch=batch, tokens=tokens) or bench.default_batch()
    return fitting(given, lambda fits: _trained(bench, task, peer=peer, batch=fits or given))


def _trained(bench: Bench, task: Task, *, peer: str, batch: int) -> dict[str, Any]:
    part = whole_batches(task, bench.size.training_pairs, batch)
    changes: dict[str, Any] = {"max_steps": ENDLESS, "per_device_train_batch_size": batch}
    if peer == "trl_packed":
        rows = max(1, round(batch * packed_rows(part) / len(part.left)))
        changes |= {"packing": True, "max_length": PACKED_TOKENS, "train_sampling_strategy": "random"}
        changes["per_device_train_batch_size"] = rows
    function = peers.train_sentence_transformers if peer == "sentence_transformers" else peers.train_trl
    clock = clock_of(bench)
    with watching(clock):
        work = function(part, **changes)(len(part.left))
    settings = {"peer": peer, "batch": batch, "rows": clock.batch, "dtype": "bfloat16"}
    return clock.result(work.pairs) | {"settings": settings, "tokens_per_pair": work.tokens / work.pairs}


def packed_rows(part: Task) -> int:
    """How many rows of PACKED_TOKENS the pairs fill, label word and end included; packing leaves next to nothing empty."""
    tokens = real_tokens(load_prompt(part.model), part) + 2 * len(part.left)
    return max(1, -(-tokens // PACKED_TOKENS))


def score(bench: Bench, *, model: str) -> dict[str, Any]:
    """`CrossEncoder.predict` with a large batch."""
    peers.need("sentence_transformers")
    task = bench.task(model)
    return fitting(bench.size.score_batches[0], lambda fits: _scored(bench, task, batch=fits or 1))


def _scored(bench: Bench, task: Task, *, batch: int) -> dict[str, Any]:
    found = repeated(bench, task, peers.score_sentence_transformers(task, batch_size=batch))
    del found["flops"]  # a peer's are not counted
    return found | {"settings": {"batch": batch, "dtype": "bfloat16"}}
