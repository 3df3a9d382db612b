"""The model that `teach` keeps: as it comes, fine-tuned on the training pairs, or several fine-tunings as one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.commands.pairs import labelled
from flipkd.config import TeachConfig
from flipkd.data.labels import labels_of
from flipkd.errors import ConfigError, DataError
from flipkd.evaluate.metrics import measure
from flipkd.files import check_manifest, read_json
from flipkd.run_lock import clear
from flipkd.teachers.ensemble import member_folder, members_of, write_members
from flipkd.teachers.scores import ColumnTeacher
from flipkd.teachers.store import ScoreStore
from flipkd.teachers.stored_teacher import MODEL, STORE
from flipkd.teachers.teacher import load_teacher

logger = logging.getLogger(__name__)
PASSED_ON = (
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


def require_possible(config: TeachConfig) -> None:
    """Raise ConfigError for settings that are at odds, before anything is made."""
    if config.teacher_type == "scores" and (config.folds or config.members > 1):
        name = "folds" if config.folds else "members"
        raise ConfigError(f"{name}={getattr(config, name)}: given scores are not fine-tuned; leave it out")
    if config.fine_tune == "auto" and not config.validation_file:
        raise ConfigError("fine_tune=auto keeps what is better on validation pairs: give --validation_file")


def final_teacher(config: TeachConfig, sets: dict[str, Any], output_dir: Path) -> tuple[Any, bool]:
    """The teacher of all labelled training pairs, and whether it was fine-tuned on them."""
    if config.teacher_type == "scores":
        return given_scores(sets), False
    if not config.fine_tune:
        return load_tuned(config, config.teacher_name_or_path), False
    validation = labelled(sets["validation"], name="validation") if "validation" in sets else None
    folder = fine_tuned(config, labelled(sets["train"], name="train"), output_dir / MODEL, validation=validation)
    teacher = load_tuned(config, folder)
    auto = config.fine_tune == "auto"
    better = validation is None or _is_better(teacher, folder, validation, output_dir, auto=auto)
    if auto and not better:
        return load_tuned(config, config.teacher_name_or_path), False
    return teacher, True


def fine_tuned(config: TeachConfig, pairs: Any, folder: Path, *, validation: Any = None) -> Path:
    """The folder of a model that was fine-tuned on labelled pairs, or of `config.members` of them.

    What was finished before is kept.
    """
    if config.members == 1:
        return _fine_tuned(config, pairs, folder, seed=config.seed, validation=validation)
    if folder.exists():
        clear(folder)
    for number in range(config.members):
        seed = (config.seed + number) % 2**32
        _fine_tuned(config, pairs, member_folder(folder, number), seed=seed, validation=validation)
    write_members(folder, config.members)
    return folder


def _fine_tuned(config: TeachConfig, pairs: Any, folder: Path, *, seed: int, validation: Any) -> Path:
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
        **{name: getattr(config, name) for name in PASSED_ON},
    )


def load_tuned(config: TeachConfig, folder: str | Path) -> Any:
    """The teacher in that folder, read as `config` says."""
    return load_teacher(folder, kind=config.teacher_type, max_length=config.max_length, prompt=config.prompt)


def _is_better(teacher: Any, folder: Path, validation: Any, output_dir: Path, *, auto: bool) -> bool:
    """Whether the fine-tuned teacher's average precision on validation pairs is at least that of the model before."""
    measured = read_json((members_of(folder) or [folder])[0] / "finetune.json")["before"]
    before = (measured or {}).get("average_precision")
    if before is None:
        return True
    store = ScoreStore(output_dir / STORE, fingerprint=teacher.fingerprint, describe=teacher.describe())
    scores = store.scores(validation["text1"][:], validation["text2"][:], teacher)
    after = measure(scores, labels_of(validation))["average_precision"]
    if auto:
        kept = "fine-tuned" if after >= before else "as it comes"
        logger.warning(
            "fine_tune=auto: the teacher is kept %s: average precision on validation %.3f before, %.3f after fine-tuning",
            kept,
            before,
            after,
        )
    elif before - after > chance(before, labels_of(validation)):
        logger.warning(
            "fine-tuning made the teacher worse on the validation pairs: average precision %.3f, %.3f before; "
            "let validation choose (--fine_tune auto), or try a lower learning_rate or another loss",
            after,
            before,
        )
    else:
        logger.info("average precision on validation: %.3f before fine-tuning, %.3f after", before, after)
    return bool(after >= before)


def chance(precision: float, labels: np.ndarray) -> float:
    """By how much an average precision may differ by chance: the standard error of a share of so many matches.

    Rough, as the pairs of both are the same: 0.08 at 0.8 with 25 matches, where a difference of 0.001 says nothing.
    """
    return float(np.sqrt(precision * (1 - precision) / max(int((labels == 1).sum()), 1)))


def given_scores(sets: dict[str, Any]) -> ColumnTeacher:
    """The score columns of all files as one teacher; what is wrong is said of the file it stands in."""
    columns: list[list[Any]] = [[], [], []]
    for name, dataset in sets.items():
        if "score" not in dataset.column_names:
            raise DataError(f"{name}: has no score column, which teacher_type scores needs; map it with columns")
        own = [dataset[column][:] for column in ("text1", "text2", "score")]
        try:
            ColumnTeacher(*own).score(own[0], own[1])
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
        for column, values in zip(columns, own, strict=True):
            column += values
    return ColumnTeacher(*columns)
