"""One training run from tables to a finished matcher folder, resumable at every point."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from flipkd import __version__, ranks
from flipkd.config import TrainConfig
from flipkd.device import best_device
from flipkd.errors import ConfigError
from flipkd.student.contract import ScoreContract
from flipkd.student.initial_adapters import load_initial_adapters
from flipkd.student.language_model import LoraSettings
from flipkd.student.loading import new_student
from flipkd.student.model import Student
from flipkd.student.prompt import template_from
from flipkd.training.batches import PairTable
from flipkd.training.finish import MATCHER, finish
from flipkd.training.losses import WeightedObjective, resolve_objectives
from flipkd.training.module import DistillationModule
from flipkd.training.out_of_memory import explain_out_of_memory
from flipkd.training.readouts import KeepableTeacher
from flipkd.training.thresholds import teacher_facts
from flipkd.training.trainer import fit

logger = logging.getLogger(__name__)
HARDWARE = frozenset({"threads", "device", "machine"})  # of an identity's environment
FREE_TO_CHANGE = frozenset(
    {
        "save_steps",
        "save_total_limit",
        "logging_steps",
        "log_gradient_norms",
        "report_to",
        "per_device_eval_batch_size",
        "output_dir",
        "resume_elsewhere",
    }
)
NOT_PASSED_ON = frozenset({"output_dir", "torch_compile"})  # what these mean here is for the run itself
PASSED_ON = [
    name for name in TrainConfig.model_fields if name in TrainingArguments.__dataclass_fields__.keys() - NOT_PASSED_ON
]


def fresh_student(config: TrainConfig) -> tuple[Student, ScoreContract]:
    """The student that `config` describes, as it is before the training, on the best device there is."""
    student, contract = new_student(
        config.model_name_or_path,
        template=template_from(config.template),
        reading=config.reading,
        max_text_length=config.max_text_length,
        lora=lora_settings(config),
        allow_readout_off_path=config.allow_readout_off_path,
        dtype=config.dtype,
        load_in_4bit=config.load_in_4bit,
        attn_implementation=config.attn_implementation,
        torch_compile=config.torch_compile,
        seed=config.seed,
        device=best_device(),
    )
    if config.init_from is not None:
        load_initial_adapters(student, contract, config.init_from)
    return student, contract.model_copy(update={"directed": config.directed})


def lora_settings(config: TrainConfig) -> LoraSettings:
    """Where `config` puts adapters and how wide they are."""
    return LoraSettings(
        r=config.lora_r,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        target_modules=config.lora_target_modules,
        layers=config.lora_layers,
        readout_r=config.readout_r,
        readout_layers=config.readout_layers,
        readout_modules=config.readout_modules,
    )


def passed_on(config: TrainConfig) -> dict[str, Any]:
    """Fields of transformers' TrainingArguments as `config` has them."""
    found = {name: getattr(config, name) for name in PASSED_ON}
    return {name: value for name, value in found.items() if value is not None} | config.training_arguments


def run_objectives(config: TrainConfig, table: PairTable, validation: PairTable) -> list[WeightedObjective]:
    """The run's loss. Raises ConfigError when an objective needs what the teacher did not give."""
    terms = resolve_objectives(config.objectives, teacher_facts=teacher_facts(config, table, validation))
    for term in terms:
        if "teacher" in term.needs and table.teacher is None:
            raise ConfigError(
                f"{term.name} needs a teacher: give --teacher FOLDER (made by flipkd teach), "
                f"or --objectives.{term.name} 0"
            )
        if "grid" in term.needs and table.teacher is not None and table.teacher.left is None:
            raise ConfigError(
                f"{term.name} compares all texts of a batch, which needs a bi-encoder's vectors; this teacher gave "
                f"scores of pairs only: --objectives.{term.name} 0"
            )
    if config.score == "cosine" and not any("vectors" in term.needs for term in terms):
        raise ConfigError("score is cosine, but no objective trains the vectors; set score to auto or answer")
    return terms


def identity_of(config: TrainConfig, *, data: Mapping[str, str]) -> dict[str, Any]:
    """All that must not change while a run is resumed: settings, data, versions, threads, processes."""
    import transformers

    return {
        "config": config.model_dump(mode="json"),
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
    table: PairTable,
    validation: PairTable,
    teacher: Callable[[], KeepableTeacher] | None = None,
) -> Path:
    """Train `student`, calibrate it on `validation`, and save the matcher folder, whose path is returned.

    `teacher` loads the model that the matcher may keep; None: it can keep none.
    Of several ranks the first alone does what comes behind the training; the others wait for it.
    """
    output_dir = Path(config.output_dir)
    objectives = run_objectives(config, table, validation)
    module = DistillationModule(student, objectives, queue_size=config.queue_size)
    with explain_out_of_memory(student, config, lora_settings(config), table):
        fit(
            module,
            table,
            output_dir=output_dir,
            arguments=passed_on(config),
            readout_learning_rate=config.readout_learning_rate,
            log_gradient_norms=config.log_gradient_norms,
            swap_texts=config.swap_texts,
            augment_texts=config.augment_texts,
        )
    ranks.on_rank_0(
        lambda: finish(
            student,
            contract,
            config,
            validation=validation,
            return_embeddings=module.return_embeddings,
            teacher=teacher,
        )
    )
    return output_dir / MATCHER
