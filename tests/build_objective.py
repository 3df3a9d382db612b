"""An objective of OBJECTIVES for a batch; one with parameters is built for the widths of the batch, from one seed."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from flipkd.objectives import OBJECTIVES, MatchBatch
from flipkd.tables import pick
from flipkd.training.losses import Objective, RunFacts, WeightedObjective, build_objectives

SETTINGS: dict[str, dict[str, Any]] = {
    "margin_hinge": {"theta_pos": 0.3, "theta_neg": -0.3},
    "margin_angular": {"theta_pos": 0.3, "theta_neg": -0.3},
}  # those without which an objective has nothing to compare


def build_objective(name: str, batch: MatchBatch, **settings: Any) -> Objective:
    """Return the objective with SETTINGS and `settings`; the batch is also its training pairs."""
    function = partial(pick(OBJECTIVES, name, what="objective"), **SETTINGS.get(name, {}) | settings)
    count = batch.shape[0]
    states = batch.layer_states
    training = MatchBatch(
        label=batch.label,
        teacher_left=None if batch.teacher_left is None else batch.teacher_left.detach().float(),
        teacher_right=None if batch.teacher_right is None else batch.teacher_right[:count].detach().float(),
    )
    facts = RunFacts(
        student_width=0 if batch.left is None else batch.left.shape[1],
        state_shape=(0, 0) if states is None else (states.shape[1], states.shape[2]),
        training=training,
    )
    [built] = build_objectives([WeightedObjective(name, 1.0, function, frozenset())], lambda: facts, seed=0)
    return built.to(batch.label.device) if isinstance(built, nn.Module) and batch.label is not None else built
