"""One training run from tables to a finished matcher folder, resumable at every point."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flipkd import __version__, ranks
from flipkd.config import TrainConfig
from flipkd.device import best_device
from flipkd.errors import ConfigError
from flipkd.evaluate.calibration import AUTO, Calibration, fit_calibration
from flipkd.evaluate.combine import weighted_sum
from flipkd.evaluate.metrics import measure
from flipkd.evaluate.thresholds import best_threshold
from flipkd.files import check_manifest, new_folder, write_json, write_text
from flipkd.student.contract import KeptTeacher, ScoreContract
from flipkd.student.golden import golden_pair
from flipkd.student.language_model import LoraSettings
from flipkd.student.loading import new_student
from flipkd.student.model import Student
from flipkd.student.prompt import template_from
from flipkd.student.scoring import score_pairs
from flipkd.student.start import start_from
from flipkd.training.advice import advised
from flipkd.training.batches import PairTable
from flipkd.training.card import model_card
from flipkd.training.losses import WeightedObjective, resolve_objectives
from flipkd.training.module import DistillationModule
from flipkd.training.readouts import Aboard, chosen, final_line
from flipkd.training.thresholds import random_thresholds, teacher_spread, teacher_thresholds
from flipkd.training.trainer import METRICS, fit

logger = logging.getLogger(__name__)
MATCHER = "matcher"
VALIDATION = "validation.json"  # metrics of the finished matcher
CHANCE = 0.55  # of ROC AUC, where a coin has 0.5
FEWEST_PER_CLASS = 2  # as a calibration needs
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
        start_from(student, contract, config.init_from)
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
    """What objectives are told of the teacher: thresholds and spread of its scores from training, and its calibration."""
    if table.teacher is None or validation.teacher is None:
        return {}
    scores = table.teacher.pair_scores()
    facts = teacher_spread(scores, table.label)
    if config.filter_quantile is not None:
        facts["theta_pos"], facts["theta_neg"] = teacher_thresholds(
            scores, table.label, quantile=config.filter_quantile, band=config.filter_band
        )
    if config.off_diagonal_quantiles is not None:
        facts["theta_off_pos"], facts["theta_off_neg"] = random_thresholds(
            table, quantiles=config.off_diagonal_quantiles, seed=config.seed
        )
    calibration = teacher_calibration(table, validation)
    return facts | {"teacher_slope": calibration.slope, "teacher_intercept": calibration.intercept}


def teacher_calibration(table: PairTable, validation: PairTable) -> Calibration:
    """From the teacher's score to P(match): fitted on out-of-fold training scores, or else on validation.

    Never on the scores of pairs that the teacher was fine-tuned on, of which it is surer than it has a right to be.
    """
    signal, label = table.teacher, table.label
    if signal is not None and signal.out_of_fold is not None:
        rows = signal.out_of_fold & (label >= 0)
        if min((rows & (label == 1)).sum(), (rows & (label == 0)).sum()) >= FEWEST_PER_CLASS:
            return fit_calibration(signal.pair_scores()[rows], label[rows], method="sigmoid")
    if validation.teacher is None:
        raise ValueError("a teacher's calibration needs its scores of validation pairs")
    rows = validation.label >= 0
    return fit_calibration(validation.teacher.pair_scores()[rows], validation.label[rows], method="sigmoid")


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
    teacher: Callable[[], Aboard] | None = None,
) -> Path:
    """Train `student`, calibrate it on `validation`, and save the matcher folder, whose path is returned.

    `teacher` loads the model that the matcher may keep; None: it can keep none.
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
            log_gradient_norms=config.log_gradient_norms,
            swap_texts=config.swap_texts,
        )
    ranks.first(
        lambda: finish(
            student,
            contract,
            config,
            validation=validation,
            represent=module.represent,
            training=metrics,
            teacher=teacher,
        )
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
    teacher: Callable[[], Aboard] | None = None,
) -> Path:
    """Score, calibration and threshold from validation, then the matcher folder, whole or not at all.

    `teacher` is called when the matcher keeps it: where its score beside the student's is best (`keep_teacher`).
    """
    labelled = np.flatnonzero(validation.label >= 0).tolist()
    labels = validation.label[labelled]
    texts = [validation.left[i] for i in labelled], [validation.right[i] for i in labelled]
    start = time.perf_counter()
    found = score_pairs(
        student, *texts, batch_size=config.per_device_eval_batch_size, represent=represent, progress="validation"
    ).kinds
    seconds = (time.perf_counter() - start) / max(len(labelled), 1)
    if teacher is not None and validation.teacher is not None:
        found["teacher"] = validation.teacher.pair_scores()[labelled]
    choice = chosen(found, labels, config)
    kept = teacher() if teacher is not None and "teacher" in choice.parts else None
    scores = weighted_sum(found, choice.weights).astype(np.float32)  # as a matcher gives them
    calibration = fit_calibration(scores, labels, method=AUTO if choice.parts == ("answer",) else "sigmoid")
    threshold = best_threshold(scores, labels).value
    contract = contract.model_copy(
        update={
            "score": choice.weights,
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
        if kept is not None:
            contract = contract.model_copy(update={"teacher": KeptTeacher(**kept.save(temporary))})
        student.save(temporary, contract)
        card = model_card(config, contract, metrics=metrics, training=training, teacher=kept.source if kept else None)
        write_text(temporary / "README.md", card)
    logger.warning(final_line(choice, kept, seconds=seconds, texts=texts))
    return folder


def finished(config: TrainConfig) -> Path | None:
    """The matcher folder when this run has been finished before."""
    folder = Path(config.output_dir) / MATCHER
    if not folder.exists():
        return None
    check_manifest(folder)
    return folder
