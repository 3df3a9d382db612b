"""One training run: from tables of pairs to a finished matcher folder, resumable at every step."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import TrainingArguments

from flipkd import __version__, ranks
from flipkd.cards.matcher_card import LearnedFrom
from flipkd.config import TrainConfig
from flipkd.data.glossary import read_glossary
from flipkd.data.pair_table import PairTable
from flipkd.device import best_device
from flipkd.errors import ConfigError
from flipkd.student.contract import GlossaryTerms, ScoreContract
from flipkd.student.initial_adapters import load_initial_adapters
from flipkd.student.loading import new_student
from flipkd.student.model import Student
from flipkd.student.sharded import on_ranks_of, shard_base
from flipkd.training.checkpoints import last_valid_checkpoint, load_best_checkpoint, remove_old
from flipkd.training.early_stopping import EarlyStopping
from flipkd.training.finish import MATCHER, Measured, Validation, write_matcher
from flipkd.training.fsdp import hidden_from_libraries, shards_base
from flipkd.training.losses import WeightedObjective, compares_pairs, resolve_objectives
from flipkd.training.metrics_file import METRICS, MetricsFile
from flipkd.training.module import DistillationModule
from flipkd.training.out_of_memory import explain_out_of_memory
from flipkd.training.readouts import KeepableTeacher
from flipkd.training.thresholds import teacher_facts
from flipkd.training.trainer import fit

logger = logging.getLogger(__name__)
HARDWARE = frozenset({"threads", "device", "machine"})  # of an identity's environment
MUTABLE_KEYS = frozenset(
    ("save_steps", "save_total_limit", "logging_steps", "log_gradient_norms", "report_to", "output_dir")
    + ("per_device_eval_batch_size", "resume_elsewhere")
)
NOT_TRAINER_FIELDS = frozenset({"output_dir", "torch_compile"})  # these have another meaning in TrainConfig
TRAINER_FIELDS = [
    name
    for name in TrainConfig.model_fields
    if name in TrainingArguments.__dataclass_fields__.keys() - NOT_TRAINER_FIELDS
]


def fresh_student(config: TrainConfig) -> tuple[Student, ScoreContract]:
    """Return the untrained student of `config`, on the best available device, and its contract.

    With FSDP it is loaded and checked on the CPU first, because it may not fit on the device before it is sharded.
    """
    glossary, sharded = None, shards_base(config)
    if config.glossary is not None:
        definitions = read_glossary(config.glossary)
        glossary = GlossaryTerms(definitions=definitions, max_characters=config.glossary_characters)
    with hidden_from_libraries():
        device = "cpu" if sharded else best_device()
        student, contract = new_student(config, glossary=glossary, seed=config.seed, device=device)
    if config.init_from is not None:
        load_initial_adapters(student, contract, config.init_from)
    if sharded:
        shard_base(student, device=best_device())
    return student, contract.model_copy(update={"directed": config.directed})


def trainer_arguments(config: TrainConfig) -> dict[str, Any]:
    """Return the fields of transformers' TrainingArguments that `config` sets. Raises ConfigError for one that is set twice."""
    if twice := sorted(config.training_arguments.keys() & set(TRAINER_FIELDS)):
        # Else the two would differ: flipkd reads its own setting, for example the seed of the adapters.
        raise ConfigError(f"training_arguments.{twice[0]} cannot be set: {twice[0]} is a setting of flipkd; set that")
    found = {name: getattr(config, name) for name in TRAINER_FIELDS}
    if config.select_checkpoint == "best":
        found["save_total_limit"] = None  # all are measured at the end
    return {name: value for name, value in found.items() if value is not None} | config.training_arguments


def run_objectives(config: TrainConfig, table: PairTable, validation: PairTable) -> list[WeightedObjective]:
    """Return the terms of the loss. Raises ConfigError when an objective needs values that the teacher did not give."""
    terms = resolve_objectives(config.objectives, teacher_facts=teacher_facts(config, table, validation))
    for term in terms:
        if "teacher" in term.needs and table.teacher is None:
            raise ConfigError(
                f"{term.name} needs a teacher: give --teacher FOLDER (made by flipkd teach), or --objectives.{term.name} 0; "
                "--objectives '{answer_cross_entropy: 1}' trains on the labels alone"
            )
        if "grid" in term.needs and table.teacher is not None and table.teacher.left is None:
            raise ConfigError(
                f"{term.name} compares all texts of a batch, which needs the embeddings of a bi-encoder; this teacher gave "
                f"scores of pairs only; set --objectives.{term.name} 0"
            )
    require_both_orders(config, terms)
    if config.score == "cosine" and not any("vectors" in term.needs for term in terms):
        raise ConfigError("score is cosine, but no objective trains the embeddings; set score to auto or answer")
    has_vectors = table.teacher is not None and table.teacher.left is not None
    if config.queue_size and not (has_vectors and any("vectors" in term.needs for term in terms)):
        logger.warning(
            "queue_size=%d has no effect: the queue needs a bi-encoder as teacher and an objective of the embeddings",
            config.queue_size,
        )
    alone = config.per_device_train_batch_size * ranks.world_size() == 1 and not config.queue_size
    if alone and (idle := [term.name for term in terms if compares_pairs(term.function)]):
        logger.warning(
            "per_device_train_batch_size=1: %s compare the pairs of a batch, so they teach nothing; give at least 2",
            ", ".join(idle),
        )
    return terms


def require_both_orders(config: TrainConfig, terms: Sequence[WeightedObjective]) -> None:
    """Raise ConfigError when a step cannot hold both orders of its pairs, or must hold lists of pairs as well.

    Logs a warning when some pairs are never read. Does nothing when no objective reads both orders.
    """
    names = [term.name for term in terms if "orders" in term.needs]
    if not names:
        return
    lists = [term.name for term in terms if "lists" in term.needs]
    if lists:
        raise ConfigError(
            f"objectives.{names[0]} puts both orders of a pair into one step, and objectives.{lists[0]} all pairs with one "
            "first text; set the weight of one of them to 0"
        )
    if config.per_device_train_batch_size * ranks.world_size() % 2:
        raise ConfigError(
            f"per_device_train_batch_size is {config.per_device_train_batch_size}, but objectives.{names[0]} reads both "
            "orders of a pair in one step; give an even number"
        )
    if config.num_train_epochs < 2:
        logger.warning(
            "objectives.%s uses half of the pairs per epoch, in both orders; with num_train_epochs=%g some pairs are never "
            "used, 2 epochs use all",
            names[0],
            config.num_train_epochs,
        )


def identity_of(config: TrainConfig, *, data: Mapping[str, str]) -> dict[str, Any]:
    """Return the values that must be equal when a run resumes: settings, data, versions, threads, processes."""
    return {
        "config": config.identity(),
        "data": dict(data),
        "environment": {
            "flipkd": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": torch.get_num_threads(),
            "processes": ranks.world_size(),
            "device": best_device().partition(":")[0],
            "machine": platform.machine(),
        },
    }


def train(
    student: Student,
    contract: ScoreContract,
    config: TrainConfig,
    *,
    objectives: Sequence[WeightedObjective],
    table: PairTable,
    validation: PairTable,
    teacher: Callable[[], KeepableTeacher] | None = None,
    teacher_source: Mapping[str, str | None] | None = None,
) -> Path:
    """Train `student`, calibrate it on `validation`, and save the matcher folder, whose path is returned.

    `objectives` is the loss, as `run_objectives` returns it for the labelled training table and `validation`.
    `teacher` loads the model that the matcher may keep; None: there is none to keep. `teacher_source`: name and licence of
    the teacher's base model, for the card.
    With several ranks, rank 0 does the work after the training and the others wait.
    """
    output_dir = Path(config.output_dir)
    module = DistillationModule(
        student,
        objectives,
        queue_size=config.queue_size,
        average_weights=config.average_weights,
        table=table,
        seed=config.seed,
    )
    measured = Validation(student, config, validation, module.return_embeddings, with_teacher=teacher is not None)
    early_stopping = None
    if config.early_stopping_patience is not None:
        metrics = MetricsFile(output_dir / METRICS)
        early_stopping = EarlyStopping(
            lambda: on_ranks_of(student, measured.precision), patience=config.early_stopping_patience, metrics=metrics
        )
    with explain_out_of_memory(student, config, table):
        fit(
            module,
            table,
            output_dir=output_dir,
            arguments=trainer_arguments(config),
            readout_learning_rate=config.readout_learning_rate,
            log_gradient_norms=config.log_gradient_norms,
            swap_texts=config.swap_texts,
            augment_texts=config.augment_texts,
            early_stopping=early_stopping,
        )
    sources = learned_from(objectives, table, teacher_source)
    _finish(module, contract, config, validation=measured, learned_from=sources, teacher=teacher)
    return output_dir / MATCHER


def learned_from(
    objectives: Sequence[WeightedObjective], table: PairTable, teacher_source: Mapping[str, str | None] | None
) -> LearnedFrom:
    """Return the training data of a run for its card; the teacher only if an objective reads its outputs."""
    labelled = int((table.label >= 0).sum())
    teacher = (teacher_source or {}) if any("teacher" in term.needs for term in objectives) else None
    return LearnedFrom(labelled, len(table.label) - labelled, teacher)


def _finish(
    module: DistillationModule,
    contract: ScoreContract,
    config: TrainConfig,
    *,
    validation: Validation,
    learned_from: LearnedFrom,
    teacher: Callable[[], KeepableTeacher] | None,
) -> None:
    """Choose the checkpoint, if asked for, and make the matcher folder."""
    output_dir, student = Path(config.output_dir), module.student

    def measure_chosen() -> Measured:
        """Measure the student with the weights of the best checkpoint, or with the last ones."""
        if config.select_checkpoint == "best":
            strategy = config.training_arguments.get("save_strategy", "steps")
            load_best_checkpoint(module, output_dir, validation.precision, strategy)
        return validation.measure()

    measured: Any = on_ranks_of(student, measure_chosen)  # None on ranks that do not write

    def write() -> None:
        """Write the matcher folder; remove the checkpoints that were kept to choose from."""
        write_matcher(student, contract, config, measured=measured, learned_from=learned_from, teacher=teacher)
        if config.select_checkpoint == "best" and (last := last_valid_checkpoint(output_dir)):
            remove_old(output_dir, step=int(last.name.rpartition("-")[2]), keep=config.save_total_limit)

    ranks.on_rank_0(write)
