"""Objectives with parameters of their own: built for a student and its training pairs, from a seed of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from flipkd.data.pair_table import PairTable
from flipkd.objectives import MatchBatch
from flipkd.student.model import Student
from flipkd.student.readout import down_parameters
from flipkd.training.losses import Objective, RunFacts, WeightedObjective, build_objective, has_parameters


def build_objectives(
    terms: Sequence[WeightedObjective], facts: Callable[[], RunFacts], *, seed: int
) -> list[Objective]:
    """Return the objective of each term; parameters depend on `seed` alone, and the random state stays as it was."""
    if not any(has_parameters(term.function) for term in terms):
        return [term.function for term in terms]
    with torch.random.fork_rng(devices=[]):
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
