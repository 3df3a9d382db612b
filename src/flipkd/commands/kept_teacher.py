"""The teacher that a matcher keeps: checks before the training, and loading."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from flipkd.config import TrainConfig
from flipkd.errors import ArtefactError, ConfigError, RefusedError
from flipkd.files import read_json
from flipkd.models.hub_names import licence_of, public_name
from flipkd.run_lock import RUN
from flipkd.teachers.kept_teacher import KeptTeacherModel, require_saveable
from flipkd.teachers.stored_teacher import StoredTeacher

logger = logging.getLogger(__name__)


def require_keepable(config: TrainConfig, teacher: StoredTeacher | None) -> None:
    """Raise ConfigError when `keep_teacher` is true and the teacher is missing or a column of scores."""
    if config.keep_teacher is True and teacher is None:
        raise ConfigError(
            "keep_teacher is true, but no teacher is given; give --teacher FOLDER (made by flipkd teach)"
        )
    if config.keep_teacher is True and teacher is not None and teacher.kind == "scores":
        raise ConfigError(
            f"keep_teacher is true, but {config.teacher} has given scores and no model to score new pairs; set keep_teacher "
            "to false, or run flipkd teach with a bi-encoder or a cross-encoder"
        )


def teacher_to_keep(config: TrainConfig) -> Callable[[], KeptTeacherModel] | None:
    """Return a function that loads the teacher for the matcher, or None when none is kept.

    Checks now whether the model can be saved; when it cannot, `keep_teacher` auto logs the reason and true raises it.
    """
    unwanted = config.keep_teacher is False or (config.keep_teacher == "auto" and config.score != "auto")
    if config.teacher is None or unwanted:
        return None
    folder = config.teacher
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
    return lambda: kept_teacher_model(StoredTeacher(folder))


def kept_teacher_model(stored: StoredTeacher) -> KeptTeacherModel:
    """Load the model of a teacher's folder, with the name and the licence of its base model."""
    return KeptTeacherModel(stored.model(), source=source_of(stored))


def source_of(stored: StoredTeacher) -> dict[str, str | None]:
    """Return the kind of a teacher, name and licence of its base model, without a path of this machine."""
    if stored.kind == "scores":
        return {"kind": stored.kind}
    name, licence = str(stored.describe()["name"]), None
    if (stored.folder / RUN).exists():  # a fine-tuned model is named by its folder, so take the name of its base
        name = read_json(stored.folder / RUN)["config"]["teacher_name_or_path"]
        licence = licence_of(name)
    name = public_name(name) + (", fine-tuned" if stored.fine_tuned else "")
    return {"kind": stored.kind, "name": name, "licence": licence}
