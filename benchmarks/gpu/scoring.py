"""Pairs a second of `Matcher.predict` with LoRA merged, from strings to scores."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from bench import Bench, fitting
from card import now
from clock import compiled_frames
from machine import Work
from ours import merged_matcher, scoring
from workload import Task

FIRST = 4096  # pairs of the warm-up


def score(bench: Bench, *, model: str, batch: int | None = None, tokens: int | None = None) -> dict[str, Any]:
    """An untrained matcher, which takes as long as a trained one."""
    task = bench.task(model)
    matcher = merged_matcher(task)

    def measured(batch: int | None) -> dict[str, Any]:
        how = {} if batch is None else {"batch_size": batch}
        found = repeated(bench, task, scoring(task, matcher, **how))
        default = signature(matcher.predict).parameters["batch_size"].default
        language_model = matcher.student.language_model
        return found | {
            "settings": {
                "batch": batch or default or "as many as fit",
                "merged": True,
                "dtype": str(language_model.dtype),
            },
            **bench.rate(found.pop("flops") / found["seconds"]),
        }

    return fitting(bench.batch(task, batch=batch, tokens=tokens), measured)


def repeated(bench: Bench, task: Task, repetition: Callable[[int], Work]) -> dict[str, Any]:
    """A warm-up, then repetitions until the window is full; the scorer has seen no text in any of them."""
    begun = now()
    first = min(FIRST, len(task.left))
    repetition(first)
    rate = first / repetition(first).seconds
    started, compiled = now(), compiled_frames()
    count = min(len(task.left), max(first // 8, round(rate * bench.size.window / 2)))
    works = []
    while now() - started < bench.size.window or not works:
        works.append(repetition(count))
    seconds, pairs = sum(work.seconds for work in works), count * len(works)
    return {
        "value": pairs / seconds,
        "unit": "pairs/s",
        "pairs": pairs,
        "tokens_per_pair": works[0].tokens / count,
        "seconds": seconds,
        "flops": sum(work.flops for work in works),
        "warm_up_seconds": started - begun,
        "compiled_in_window": compiled_frames() - compiled,
    }
