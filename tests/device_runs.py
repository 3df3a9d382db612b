"""Tables, modules and whole training runs on a device, whose losses, gradients and graphs are kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import SENTENCES, make_table

from flipkd.config import TrainConfig
from flipkd.data.pair_table import PairTable
from flipkd.training import metrics_file, trainer
from flipkd.training.losses import resolve_objectives
from flipkd.training.module import DistillationModule

FACTS = {"theta_pos": 0.5, "theta_neg": 0.0, "teacher_slope": 3.0, "teacher_intercept": -1.0}
DEFAULT = TrainConfig.model_fields["objectives"].default
LONG, SHORT = " ".join(SENTENCES * 3), "pin"


def mixed_table(n: int = 64) -> PairTable:
    """The learnable pairs, of which every third has a very long text on one side and every third one word."""
    plain = make_table(n)
    left = [(text, LONG, SHORT)[row % 3] for row, text in enumerate(plain.left)]
    right = [(text, SHORT, LONG, text, text, SHORT)[row % 6] for row, text in enumerate(plain.right)]
    return PairTable(left=left, right=right, label=plain.label, teacher=plain.teacher)


def module_of(student: Any, objectives: Any = None) -> DistillationModule:
    """A module with the default objectives."""
    return DistillationModule(student, resolve_objectives(objectives or DEFAULT, teacher_facts=FACTS))


class Plain:
    """Stands for GraphedStep where there are no graphs: remembers shapes, records nothing."""

    def __init__(self, step: Any, parameters: Any, **_unused: Any) -> None:
        self.step, self._graphs = step, {}

    def __call__(self, batch: Any) -> Any:
        self._graphs[tuple((name, tuple(batch[name].shape)) for name in sorted(batch))] = self.step
        return self.step(dict(batch))


@dataclass
class Run:
    """What a training run left behind."""

    folder: Path
    losses: list[float] = field(default_factory=list)
    gradients: list[torch.Tensor] = field(default_factory=list)
    """Of each optimizer step all gradients in one, before they are clipped."""
    graphs: int = 0
    weights: dict[str, torch.Tensor] = field(default_factory=dict)


def run_on_its_device(
    module: DistillationModule, table: PairTable, folder: Path, *, graphs: bool, steps: int, **arguments: Any
) -> Run:
    """Train by `trainer.fit` and nothing else; `graphs=False` keeps it from recording any."""
    kept, device, made = Run(folder), module.student.device.type, []
    kind = trainer.GraphedStep if device == "cuda" else Plain
    look = trainer.HealthChecks.on_pre_optimizer_step

    def graphed(*given: Any, **more: Any) -> Any:
        made.append(kind(*given, **more))
        return made[-1]

    def noted(self: Any, *given: Any, **more: Any) -> Any:
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.trainable.values()]
        kept.gradients.append(torch.cat([gradient.flatten() for gradient in own]))
        return look(self, *given, **more)

    chosen = {
        "max_steps": steps,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "learning_rate": 1e-3,
    }
    chosen |= {"per_device_train_batch_size": 8, "use_cpu": device == "cpu", "disable_tqdm": True} | arguments
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "GraphedStep", graphed)
        patch.setattr(trainer.HealthChecks, "on_pre_optimizer_step", noted)
        if not graphs:
            patch.setattr(trainer, "_replays_graphs", lambda *_: False)
        elif device == "cpu":
            patch.setattr(trainer, "_replays_graphs", lambda *_: True)
        trainer.fit(module, table, output_dir=folder, arguments=chosen)
    lines = [json.loads(line) for line in (folder / metrics_file.METRICS).read_text().splitlines()]
    kept.losses = [line["loss"] for line in lines if "loss" in line]
    kept.graphs = sum(len(step._graphs) for step in made)
    kept.weights = {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
    return kept
