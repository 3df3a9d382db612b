"""A run's loss: a list of (weight, objective), resolved from names; each objective is asked what it needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flipkd.errors import ConfigError, nearest
from flipkd.objectives import OBJECTIVES, MatchBatch
from flipkd.objectives.batch import MissingTensorError
from flipkd.tables import pick

Objective = Callable[[MatchBatch], Tensor]
NO_FILTER = {"theta_pos": None, "theta_neg": None}


@dataclass(frozen=True)
class WeightedObjective:
    """One term of the loss, and which parts of a MatchBatch it reads."""

    name: str
    weight: float
    function: Objective
    needs: frozenset[str]


def resolve_objectives(
    objectives: Mapping[str, float | Mapping[str, Any]], *, teacher_facts: Mapping[str, float]
) -> list[WeightedObjective]:
    """The terms with a weight other than 0; each gets those `teacher_facts` that it takes and does not name itself.

    Raises ConfigError for a name, weight or knob that does not exist, and when nothing is left.
    """
    terms = []
    for name, setting in objectives.items():
        knobs = dict(setting) if isinstance(setting, Mapping) else {"weight": setting}
        weight = knobs.pop("weight", 1.0)
        if not isinstance(weight, int | float) or weight < 0:
            raise ConfigError(f"objectives.{name}: the weight is {weight!r}; it must be a number of at least 0")
        function = pick(OBJECTIVES, name, what="objective")
        allowed = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for knob in knobs:
            if knob not in allowed:
                raise ConfigError(f"objectives.{name} has no knob {knob!r}; {nearest(knob, ['weight', *allowed])}")
        if weight == 0:
            continue
        knobs = {name: fact for name, fact in (NO_FILTER | dict(teacher_facts)).items() if name in allowed} | knobs
        bound = partial(function, **knobs)
        terms.append(WeightedObjective(name, float(weight), bound, needs_of(bound)))
    if not terms:
        raise ConfigError("every objective has weight 0; nothing would be learnt")
    return terms


def needs_of(objective: Objective) -> frozenset[str]:
    """Return which of answers, vectors, teacher, grid an objective reads: it is called on batches without one of them.

    The random state of the CPU stays as it was. Errors other than MissingTensorError pass through.
    """
    unit = torch.nn.functional.normalize(torch.arange(12.0).reshape(4, 3) + 1, dim=1)
    full = MatchBatch(
        answers=torch.zeros(4, 2),
        label=torch.tensor([1, 0, 1, 0]),
        left=unit,
        right=unit.flip(0),
        teacher_grid=unit @ unit.T,
        teacher_pair=torch.ones(4),
        teacher_left=unit,
        teacher_right=unit,
        left_id=torch.arange(4),
        right_id=torch.arange(4, 8),
    )
    reduced = {
        "answers": replace(full, answers=None),
        "vectors": replace(full, left=None, right=None, left_id=None, right_id=None),
        "teacher": replace(full, teacher_grid=None, teacher_left=None, teacher_right=None, teacher_pair=None),
        "grid": replace(full, teacher_grid=None, teacher_left=None, teacher_right=None),
    }
    state = torch.get_rng_state()
    try:
        return frozenset(part for part, batch in reduced.items() if _misses_a_tensor(objective, batch))
    finally:
        torch.set_rng_state(state)


def _misses_a_tensor(objective: Objective, batch: MatchBatch) -> bool:
    try:
        with torch.no_grad():
            objective(batch)
    except MissingTensorError:
        return True
    return False
