"""Pairs a second in our training, plain and flipped, over a window of a whole `fit`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import Bench, fitting
from clock import ENDLESS, Clock, watching
from ours import NOTHING_WRITTEN, PLAIN, learner, settings, training_work
from workload import Task

PATIENCE = 90.0  # seconds of warm-up


def train(
    bench: Bench, *, model: str, kind: str, batch: int | None = None, tokens: int | None = None
) -> dict[str, Any]:
    """A fresh student; `kind` is plain, or flipped: the default objectives with random vectors of a teacher."""
    task = bench.task(model)
    return fitting(
        bench.batch(task, batch=batch, tokens=tokens), lambda fits: _trained(bench, task, kind=kind, batch=fits)
    )


def _trained(bench: Bench, task: Task, *, kind: str, batch: int | None) -> dict[str, Any]:
    from flipkd.training.run import trainer_arguments
    from flipkd.training.trainer import fit

    objectives = {"objectives": PLAIN} if kind == "plain" else {}
    config = settings(task, per_device_train_batch_size=batch, readout_r=None, **objectives)
    part = whole_batches(task, bench.size.training_pairs, batch)
    module, table = learner(config, part)
    clock = clock_of(bench)
    arguments = trainer_arguments(config) | NOTHING_WRITTEN | {"max_steps": ENDLESS}
    with watching(clock), TemporaryDirectory() as folder:
        fit(module, table, output_dir=Path(folder), arguments=arguments)
    window = clock.result(len(part.left))
    work = training_work(module, part, seconds=window["seconds"], batch=clock.batch)
    return window | {
        "settings": {
            "kind": kind,
            "batch": clock.batch,
            "asked_batch": batch or "default",
            "reading": config.reading,
            "lora_r": config.lora_r,
            "dtype": config.dtype,
            "compiled": bool(getattr(module.student, "compiled", False)),
        },
        "tokens_per_pair": work.tokens / work.pairs,
        **bench.rate(window["value"] * work.flops / work.pairs),
    }


def clock_of(bench: Bench) -> Clock:
    """A clock with the bench's window."""
    return Clock(warm_steps=bench.size.warm_steps, window=bench.size.window, patience=PATIENCE)


def whole_batches(task: Task, count: int, batch: int | None) -> Task:
    """About `count` pairs in whole batches, so that all steps are alike; a default batch is taken to divide `count`."""
    whole = batch or 1
    return task.first(max(1, round(count / whole)) * whole)
