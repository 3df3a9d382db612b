"""One training run from tables to a finished matcher folder, resumable at every point."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flipkd import __version__, ranks
from flipkd.config import TrainConfig
from flipkd.device import best_device
from flipkd.errors import ConfigError
from flipkd.evaluate.calibration import fit_calibration
from flipkd.evaluate.combine import choose_score, weighted_sum
from flipkd.evaluate.metrics import measure
from flipkd.evaluate.thresholds import best_threshold
from flipkd.files import check_manifest, new_folder, write_json, write_text
from flipkd.student.contract import ScoreContract
from flipkd.student.golden import golden_pair
from flipkd.student.language_model import LoraSettings
from flipkd.student.loading import new_student
from flipkd.student.model import Student
from flipkd.student.prompt import template_from
from flipkd.student.scoring import score_pairs
from flipkd.training.advice import advised
from flipkd.training.batches import PairTable
from flipkd.training.card import model_card
from flipkd.training.losses import WeightedObjective, resolve_objectives, teacher_thresholds
from flipkd.training.module import DistillationModule
from flipkd.training.trainer import METRICS, fit

logger = logging.getLogger(__name__)
MATCHER = "matcher"
VALIDATION = "validation.json"  # metrics of the finished matcher
CHANCE = 0.55  # of ROC AUC, where a coin has 0.5
HARDWARE = frozenset({"threads", "device", "machine"})  # of an identity's environment
FREE_TO_CHANGE = frozenset(
    {
        *("save_steps", "save_total_limit", "logging_steps", "report_to", "per_device_eval_batch_size", "output_dir"),
        "resume_elsewhere",
    }
)
PASSED_ON = (
    "num_train_epochs",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "activation_checkpointing",
    "logging_steps",
    "save_steps",
    "save_total_limit",
    "report_to",
    "seed",
)


def fresh_student(config: TrainConfig) -> tuple[Student, ScoreContract]:
    """The untrained student that `config` describes, on the best device there is."""
    return new_student(
        config.model_name_or_path,
        template=template_from(config.template),
        reading=config.reading,
        max_text_length=config.max_text_length,
        lora=lora_settings(config),
        dtype=config.dtype,
        load_in_4bit=config.load_in_4bit,
        attn_implementation=config.attn_implementation,
        torch_compile=config.torch_compile,
        seed=config.seed,
        device=best_device(),
    )


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
                f"or --set objectives.{term.name}=0"
            )
        if "grid" in term.needs and table.teacher is not None and table.teacher.left is None:
            raise ConfigError(
                f"{term.name} compares all texts of a batch, which needs a bi-encoder's vectors; this teacher gave "
                f"scores of pairs only: --set objectives.{term.name}=0"
            )
    if config.score == "cosine" and not any("vectors" in term.needs for term in terms):
        raise ConfigError("score is cosine, but no objective trains the vectors; set score to auto or answer")
    return terms


def teacher_facts(config: TrainConfig, table: PairTable, validation: PairTable) -> dict[str, float]:
    """What objectives are told of the teacher: the filter's thresholds from training, its calibration from validation.

    The calibration is not from training pairs, on which a fine-tuned teacher is surer than it has a right to be.
    """
    if table.teacher is None or validation.teacher is None:
        return {}
    facts = {}
    if config.filter_quantile is not None:
        scores = table.teacher.pair_scores()
        facts["theta_pos"], facts["theta_neg"] = teacher_thresholds(
            scores, table.label, quantile=config.filter_quantile
        )
    labelled = validation.label >= 0
    calibration = fit_calibration(
        validation.teacher.pair_scores()[labelled], validation.label[labelled], method="sigmoid"
    )
    return facts | {"teacher_slope": calibration.slope, "teacher_intercept": calibration.intercept}


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
    student: Student, contract: ScoreContract, config: TrainConfig, *, table: PairTable, validation: PairTable
) -> Path:
    """Train `student`, calibrate it on `validation`, and save the matcher folder, whose path is returned.

    Of several ranks the first alone does what comes behind the training; the others wait for it.
    """
    output_dir = Path(config.output_dir)
    objectives = run_objectives(config, table, validation)
    module = DistillationModule(student, objectives, queue_size=config.queue_size)
    with advised(student, config, lora_settings(config), table):
        metrics = fit(
            module,
            table,
            output_dir=output_dir,
            arguments=passed_on(config),
            readout_learning_rate=config.readout_learning_rate,
        )
    ranks.first(
        lambda: finish(student, contract, config, validation=validation, represent=module.represent, training=metrics)
    )
    return output_dir / MATCHER


def finish(
    student: Student,
    contract: ScoreContract,
    config: TrainConfig,
    *,
    validation: PairTable,
    represent: bool,
    training: Mapping[str, float],
) -> Path:
    """Score, calibration and threshold from validation, then the matcher folder, whole or not at all."""
    labelled = np.flatnonzero(validation.label >= 0).tolist()
    labels = validation.label[labelled]
    found = score_pairs(
        student,
        [validation.left[i] for i in labelled],
        [validation.right[i] for i in labelled],
        batch_size=config.per_device_eval_batch_size,
        represent=represent,
        progress="validation",
    ).kinds
    name, weights = choose_score(found if config.score == "auto" else {config.score: found[config.score]}, labels)
    scores = weighted_sum(found, weights).astype(np.float32)  # as a matcher gives them
    calibration = fit_calibration(scores, labels, method="temperature" if name == "answer" else "sigmoid")
    threshold = best_threshold(scores, labels).value
    contract = contract.model_copy(
        update={
            "score": weights,
            "calibration": asdict(calibration),
            "threshold": threshold,
            "golden": golden_pair(student),
        }
    )
    metrics = measure(scores, labels, threshold=threshold, probabilities=calibration.apply(scores))
    if metrics["roc_auc"] < CHANCE:
        logger.warning(
            "the trained student is no better than chance on validation (ROC AUC %.2f): the training broke down; "
            "lower learning_rate (now %g) and see the losses in %s",
            metrics["roc_auc"],
            config.learning_rate,
            Path(config.output_dir) / METRICS,
        )
    write_json(Path(config.output_dir) / VALIDATION, metrics)
    folder = Path(config.output_dir) / MATCHER
    with new_folder(folder, replace=True) as temporary:
        student.save(temporary, contract)
        write_text(temporary / "README.md", model_card(config, contract, metrics=metrics, training=training))
    return folder


def finished(config: TrainConfig) -> Path | None:
    """The matcher folder when this run has been finished before."""
    folder = Path(config.output_dir) / MATCHER
    if not folder.exists():
        return None
    check_manifest(folder)
    return folder
