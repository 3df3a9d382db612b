"""The teacher that a matcher keeps: checks before the training, and loading."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from pathlib import Path

from flipkd.commands.matcher_teacher import TrainingTeacher, is_matcher, kept_teacher_of
from flipkd.config import TrainConfig
from flipkd.errors import ArtefactError, ConfigError, RefusedError
from flipkd.files import read_json
from flipkd.models.hub_names import licence_of, public_name
from flipkd.run_lock import RUN
from flipkd.teachers.kept_teacher import KeptTeacherModel, require_saveable
from flipkd.teachers.stored_teacher import StoredTeacher

logger = logging.getLogger(__name__)


NEEDS_KEPT_TEACHER = "answer_with_teacher"  # an objective that trains the answer as a part of a sum


def require_keepable(config: TrainConfig, teacher: TrainingTeacher | None, *, objectives: Collection[str]) -> None:
    """Raise ConfigError when `keep_teacher` is true and there is no teacher to keep: none, given scores, a matcher without one.

    objectives: the names of the terms of the loss; also raises it when one of them needs a kept teacher that is excluded.
    """
    if NEEDS_KEPT_TEACHER in objectives and teacher is not None:
        _require_sum(config, teacher)
    if config.keep_teacher is not True:
        return
    if teacher is None:
        raise ConfigError(
            "keep_teacher is true, but no teacher is given; give --teacher FOLDER (made by flipkd teach)"
        )
    if teacher.kind == "scores":
        raise ConfigError(
            f"keep_teacher is true, but {config.teacher} has given scores and no model to score new pairs; set keep_teacher "
            "to false, or run flipkd teach with a bi-encoder or a cross-encoder"
        )
    if is_matcher(str(config.teacher)) and kept_teacher_of(str(config.teacher)) is None:
        raise ConfigError(
            f"keep_teacher is true, but the matcher {config.teacher} keeps no teacher that could be kept; set keep_teacher to "
            "false or auto"
        )


def _require_sum(config: TrainConfig, teacher: TrainingTeacher) -> None:
    """Raise ConfigError when the matcher cannot add the teacher's score; warn of scores that are overconfident."""
    what = f"objectives.{NEEDS_KEPT_TEACHER} trains an answer that is added to the teacher's score"
    if is_unwanted(config):
        raise ConfigError(
            f"{what}, but keep_teacher is {str(config.keep_teacher).lower()} and score is {config.score}; set keep_teacher to "
            f"true, or both to auto, or objectives.{NEEDS_KEPT_TEACHER} to 0"
        )
    if config.other_teachers:
        raise ConfigError(
            f"{what}, but a matcher keeps only the first of several teachers; set the objective to 0, or leave other_teachers out"
        )
    if teacher.kind == "scores" or is_matcher(str(config.teacher)):
        has = "a matcher, which cannot be kept" if teacher.kind != "scores" else "given scores and no model"
        raise ConfigError(
            f"{what}, but {config.teacher} has {has}; set the objective to 0, or run flipkd teach with a bi-encoder or a "
            "cross-encoder"
        )
    if teacher.fine_tuned and not teacher.folds:
        logger.warning(
            "objectives.%s reads the teacher's scores of pairs that it was fine-tuned on, which are overconfident; "
            "run flipkd teach with --folds 5",
            NEEDS_KEPT_TEACHER,
        )


def is_unwanted(config: TrainConfig) -> bool:
    """Return whether the settings exclude a kept teacher."""
    return config.keep_teacher is False or (config.keep_teacher == "auto" and config.score != "auto")


def teacher_to_keep(config: TrainConfig) -> Callable[[], KeptTeacherModel] | None:
    """Return a function that loads the teacher for the matcher, or None when none is kept.

    Checks now whether the model can be saved; when it cannot, `keep_teacher` auto logs the reason and true raises it.
    """
    if config.teacher is None or is_unwanted(config):
        return None
    folder = config.teacher
    if is_matcher(folder):  # a matcher is too large to be kept, but its own teacher is not
        return kept_teacher_of(folder)
    if StoredTeacher(folder).kind == "scores":
        logger.warning("the matcher cannot keep its teacher, which is a column of scores (keep_teacher)")
        return None
    try:
        require_saveable(StoredTeacher(folder).model(), Path(config.output_dir))
    except (ArtefactError, ConfigError, RefusedError) as error:
        if config.keep_teacher is True:
            raise
        logger.warning("the matcher cannot keep its teacher (keep_teacher): %s", error)
        return None
    stored = StoredTeacher(folder)
    return lambda: KeptTeacherModel(stored.model(), source=source_of(stored))


def source_of(stored: TrainingTeacher) -> dict[str, str | None]:
    """Return the kind of a teacher, name and licence of its base model, without a path of this machine."""
    if not isinstance(stored, StoredTeacher):
        return {"kind": "matcher"}
    if stored.kind == "scores":
        return {"kind": stored.kind}
    name, licence = str(stored.describe()["name"]), None
    if (stored.folder / RUN).exists():  # a fine-tuned model is named by its folder, so take the name of its base
        name = read_json(stored.folder / RUN)["config"]["teacher_name_or_path"]
        licence = licence_of(name)
    name = public_name(name) + (", fine-tuned" if stored.fine_tuned else "")
    return {"kind": stored.kind, "name": name, "licence": licence}
