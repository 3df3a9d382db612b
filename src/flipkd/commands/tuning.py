"""The model of the teacher: pretrained, fine-tuned on the training pairs, or an ensemble of fine-tuned models."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.commands.pairs import labelled
from flipkd.config import TeachConfig
from flipkd.data.labels import labels_of
from flipkd.data.pairs import sides_of
from flipkd.errors import ConfigError, DataError
from flipkd.evaluate.metrics import measure
from flipkd.files import check_manifest, new_folder, read_json
from flipkd.run_lock import clear
from flipkd.teachers.ensemble import member_folder, members_of, write_members
from flipkd.teachers.scores import ColumnTeacher
from flipkd.teachers.stored_teacher import MODEL, PRETRAINED
from flipkd.teachers.teacher import load_teacher, pair_scores

logger = logging.getLogger(__name__)
FINETUNE_SETTINGS = (
    "loss",
    "num_train_epochs",
    "per_device_train_batch_size",
    "learning_rate",
    "warmup_steps",
    "max_length",
    "prompt",
    "bf16",
    "warm_start_pairs",
)


def require_consistent(config: TeachConfig) -> None:
    """Raise ConfigError for conflicting settings, before anything is written."""
    if config.teacher_type == "scores" and (config.folds or config.members > 1):
        name = "folds" if config.folds else "members"
        raise ConfigError(
            f"{name}={getattr(config, name)}: teacher_type=scores has no model to fine-tune; leave {name} out"
        )


def final_teacher(config: TeachConfig, sets: dict[str, Any], output_dir: Path) -> tuple[Any, bool]:
    """Return the teacher of all labelled training pairs, and whether it was fine-tuned on them."""
    if config.teacher_type == "scores":
        return column_teacher(sets), False
    if not config.fine_tune:
        return load_finetuned(config, config.teacher_name_or_path), False
    validation = labelled(sets["validation"], name="validation") if "validation" in sets else None
    folder = finetune(config, labelled(sets["train"], name="train"), output_dir / MODEL, validation=validation)
    teacher = load_finetuned(config, folder)
    auto = config.fine_tune == "auto"
    better = validation is None or _is_better(teacher, folder, validation, auto=auto)
    if auto and not better:
        return _pretrained(config, output_dir / PRETRAINED), False
    return teacher, True


def _pretrained(config: TeachConfig, folder: Path) -> Any:
    """Return the pretrained teacher, with a copy in `folder`: the folder beside it has a model that is worse."""
    teacher = load_finetuned(config, config.teacher_name_or_path)
    if folder.exists():
        check_manifest(folder)
    else:
        with new_folder(folder) as unfinished:
            teacher.model.save_pretrained(str(unfinished), create_model_card=False)
    return teacher


def finetune(config: TeachConfig, pairs: Any, folder: Path, *, validation: Any = None) -> Path:
    """Fine-tune one model, or an ensemble of `config.members`, on labelled pairs; return its folder.

    Models that are already finished are kept.
    """
    if config.members == 1:
        return _finetune_member(config, pairs, folder, seed=config.seed, validation=validation)
    if folder.exists():
        clear(folder)
    for number in range(config.members):
        seed = (config.seed + number) % 2**32
        _finetune_member(config, pairs, member_folder(folder, number), seed=seed, validation=validation)
    write_members(folder, config.members)
    return folder


def _finetune_member(config: TeachConfig, pairs: Any, folder: Path, *, seed: int, validation: Any) -> Path:
    from flipkd.teachers.finetune import finetune_teacher

    if folder.exists():
        check_manifest(folder)
        return folder
    return finetune_teacher(
        config.teacher_name_or_path,
        pairs,
        output_dir=folder,
        validation=validation,
        kind=config.teacher_type,
        seed=seed,
        **{name: getattr(config, name) for name in FINETUNE_SETTINGS},
    )


def load_finetuned(config: TeachConfig, folder: str | Path) -> Any:
    """Load the teacher in a folder with the settings of `config`."""
    return load_teacher(folder, kind=config.teacher_type, max_length=config.max_length, prompt=config.prompt)


def _is_better(teacher: Any, folder: Path, validation: Any, *, auto: bool) -> bool:
    """Return whether fine-tuning did not lower the average precision on validation pairs; log the result."""
    members = members_of(folder)
    measured = read_json((members or [folder])[0] / "finetune.json")
    if not measured["before"]:  # without validation pairs, or of a new scoring head
        return True
    before, after = (measured[when]["average_precision"] for when in ("before", "after"))
    if members:
        scores = pair_scores(teacher, *sides_of(validation))
        after = measure(scores, labels_of(validation))["average_precision"]
    if auto:
        logger.warning(
            "the %s model is used (fine_tune=auto): average precision on validation %.3f before, %.3f after fine-tuning",
            "fine-tuned" if after >= before else "pretrained",
            before,
            after,
        )
    elif before - after > standard_error(before, labels_of(validation)):
        logger.warning(
            "fine-tuning made the teacher worse on the validation pairs: average precision %.3f, before %.3f; "
            "use --fine_tune auto, a lower learning_rate or another loss",
            after,
            before,
        )
    else:
        logger.info("average precision on validation: %.3f before fine-tuning, %.3f after", before, after)
    return bool(after >= before)


def standard_error(precision: float, labels: np.ndarray) -> float:
    """Return the approximate standard error of an average precision: that of a proportion over the number of matches.

    Only approximate, because both models are evaluated on the same pairs. Example: 0.08 at a precision of 0.8 with 25
    matches, where a difference of 0.001 has no meaning.
    """
    return float(np.sqrt(precision * (1 - precision) / max(int((labels == 1).sum()), 1)))


def column_teacher(sets: dict[str, Any]) -> ColumnTeacher:
    """Return the score columns of all files as one teacher; errors name the file."""
    columns: list[list[Any]] = [[], [], []]
    for name, dataset in sets.items():
        if "score" not in dataset.column_names:
            raise DataError(
                f"{name}: no score column, which teacher_type=scores needs; add it, or name it with --columns.score NAME"
            )
        own = [dataset[column][:] for column in ("text1", "text2", "score")]
        try:
            ColumnTeacher(*own).score(own[0], own[1])
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
        for column, values in zip(columns, own, strict=True):
            column += values
    return ColumnTeacher(*columns)
