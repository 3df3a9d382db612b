"""The loss of a run: a list of weighted objectives, resolved from their names, with the tensors that each needs.

An objective is a function, or a class of nn.Module whose objects are called like one and have parameters of their own.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from flipkd.artefacts import load_lock
from flipkd.data.pair_table import PairTable
from flipkd.errors import ConfigError, nearest
from flipkd.objectives import OBJECTIVES, MatchBatch
from flipkd.objectives.batch import MissingTensorError
from flipkd.student.model import Student
from flipkd.student.readout import down_parameters
from flipkd.tables import pick

Objective = Callable[[MatchBatch], Tensor]
MOST_LAYERS = 256  # of a student: those that a setting may name
NO_FILTER = {"theta_pos": None, "theta_neg": None}


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts of a run for the constructor of an objective with parameters, which gets those that it has a parameter for."""

    student_width: int
    """D, the width of the student's embeddings."""
    state_shape: tuple[int, int] = (0, 0)
    """(K, H): layers of the student, and the width of its hidden states."""
    training: MatchBatch
    """Labels and the teacher's values of all training pairs, on the CPU; without a grid."""


@dataclass(frozen=True)
class WeightedObjective:
    """One term of the loss, and the parts of a MatchBatch that it reads (see `needs_of`)."""

    name: str
    weight: float
    function: Callable[..., Any]
    """The objective with its settings; of a class the constructor with its settings."""
    needs: frozenset[str]


def resolve_objectives(
    objectives: Mapping[str, float | Mapping[str, Any]], *, teacher_facts: Mapping[str, float]
) -> list[WeightedObjective]:
    """Return the terms whose weight is above 0; `teacher_facts` are defaults of the settings with the same names.

    Raises ConfigError for an unknown name or setting, an invalid weight, and when every weight is 0.
    """
    terms = []
    for name, setting in objectives.items():
        settings = dict(setting) if isinstance(setting, Mapping) else {"weight": setting}
        weight = settings.pop("weight", 1.0)
        if not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise ConfigError(f"objectives.{name}: the weight is {weight!r}; allowed is a number from 0")
        function = pick(OBJECTIVES, name, what="objective")
        allowed = settings_of(function)
        for key in settings:
            if key not in allowed:
                raise ConfigError(f"objectives.{name} has no setting {key!r}; {nearest(key, ['weight', *allowed])}")
        if weight == 0:
            continue
        settings = {key: fact for key, fact in (NO_FILTER | dict(teacher_facts)).items() if key in allowed} | settings
        bound = partial(function, **settings)
        try:
            terms.append(WeightedObjective(name, float(weight), bound, needs_of(bound)))
        except ConfigError as error:
            raise ConfigError(f"objectives.{name}: {error}") from None
    if not terms:
        raise ConfigError("every objective has weight 0, so nothing would be trained; give one a weight above 0")
    return terms


def settings_of(function: Callable[..., Any]) -> list[str]:
    """Return the names of an objective's settings: its keyword-only parameters, without those that the run gives."""
    facts = {field.name for field in fields(RunFacts)}
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in facts]


def needs_of(function: Callable[..., Any]) -> frozenset[str]:
    """Return which of answers, vectors, teacher, grid, orders, lists, layers an objective reads.

    It is called on batches without one of them. The random state of the CPU stays as it was; errors other than
    MissingTensorError pass through.
    """
    full = _probe()
    reduced = {
        "answers": replace(full, answers=None),
        "vectors": replace(full, left=None, right=None, left_id=None, right_id=None),
        "teacher": replace(full, teacher_grid=None, teacher_left=None, teacher_right=None, teacher_pair=None),
        "grid": replace(full, teacher_grid=None, teacher_left=None, teacher_right=None),
        "orders": replace(full, pair_id=None),
        "lists": replace(full, list_id=None),
        "layers": replace(full, layer_states=None),
    }
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        objective = _build_for(full, function)
        return frozenset(part for part, batch in reduced.items() if _misses_a_tensor(objective, batch))


def compares_pairs(function: Callable[..., Any]) -> bool:
    """Return whether an objective only compares the pairs of a batch with each other: the loss of one pair alone is 0."""
    full = _probe()
    alone = [
        replace(
            full,
            **{name: full.require(name)[row : row + 1] for name in full.present if name != "teacher_grid"},
            teacher_grid=full.teacher_similarity[row : row + 1, row : row + 1],
        )
        for row in (0, 1)  # a match and a non-match
    ]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        objective = _build_for(full, function)
        return all(float(objective(batch)) == 0 for batch in alone)


def _probe() -> MatchBatch:
    """Return a small batch with all tensors, on which objectives are tried out."""
    unit = torch.nn.functional.normalize(torch.arange(12.0).reshape(4, 3) + 1, dim=1)
    return MatchBatch(
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
        pair_id=torch.tensor([0, 0, 1, 1]),
        list_id=torch.tensor([0, 0, 1, 1]),
        layer_states=torch.ones(4, MOST_LAYERS, 3),
    )


def _build_for(probe: MatchBatch, function: Callable[..., Any]) -> Objective:
    return build_objective(function, lambda: RunFacts(student_width=3, state_shape=(MOST_LAYERS, 3), training=probe))


def _misses_a_tensor(objective: Objective, batch: MatchBatch) -> bool:
    try:
        objective(batch)
    except MissingTensorError:
        return True
    return False


def has_parameters(function: Callable[..., Any]) -> bool:
    """Return whether an objective is a class of nn.Module, maybe with settings."""
    inner = function.func if isinstance(function, partial) else function
    return isinstance(inner, type) and issubclass(inner, nn.Module)


def build_objective(function: Callable[..., Any], facts: Callable[[], RunFacts]) -> Objective:
    """Return the objective, a new nn.Module if it has parameters; `facts` is called only for these."""
    if not has_parameters(function):
        return function
    found, parameters = facts(), inspect.signature(function).parameters
    built: Objective = function(
        **{field.name: getattr(found, field.name) for field in fields(found) if field.name in parameters}
    )
    return built


def build_objectives(
    terms: Sequence[WeightedObjective], facts: Callable[[], RunFacts], *, seed: int
) -> list[Objective]:
    """Return the objective of each term; parameters depend on `seed` alone, and the random state stays as it was."""
    if not any(has_parameters(term.function) for term in terms):
        return [term.function for term in terms]
    # While another thread loads a model, torch's default dtype may be that of the model.
    with load_lock(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [build_objective(term.function, facts) for term in terms]


def run_facts(student: Student, table: PairTable | None) -> RunFacts:
    """Return the facts of a run. Raises ValueError without a table."""
    if table is None:
        raise ValueError("an objective with parameters needs the table of the training pairs")
    read = down_parameters(student.language_model, student.readout.module_names)
    config = student.language_model.config.get_text_config()
    return RunFacts(
        student_width=sum(len(weight) for weight in read.values()),
        state_shape=(config.num_hidden_layers, config.hidden_size),
        training=training_values(table),
    )


def training_values(table: PairTable) -> MatchBatch:
    """Return the labels and the teacher's values of all pairs of a table as tensors that share its memory."""
    label, teacher = torch.from_numpy(table.label), table.teacher
    if teacher is None:
        return MatchBatch(label=label)
    vectors = {
        name: None if values is None else torch.from_numpy(values)
        for name, values in (("teacher_left", teacher.left), ("teacher_right", teacher.right))
    }
    return MatchBatch(label=label, teacher_pair=torch.from_numpy(teacher.pair_scores()), **vectors)
