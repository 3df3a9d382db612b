"""The teacher that a run's matcher may keep: whether it can be kept, said before the training, and how it is loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from flipkd.config import TrainConfig
from flipkd.errors import ArtefactError, ConfigError, RefusedError
from flipkd.files import read_json
from flipkd.run_lock import RUN
from flipkd.teachers.kept_teacher import KeptTeacherModel, require_saveable
from flipkd.teachers.stored_teacher import StoredTeacher

logger = logging.getLogger(__name__)


def require_keepable(config: TrainConfig, teacher: StoredTeacher | None) -> None:
    """Raise ConfigError when `keep_teacher` is true and there is none, or one that is a column of scores."""
    if config.keep_teacher is True and teacher is None:
        raise ConfigError(
            "keep_teacher is true, but there is no teacher; give --teacher FOLDER (made by flipkd teach)"
        )
    if config.keep_teacher is True and teacher is not None and teacher.kind == "scores":
        raise ConfigError(
            f"keep_teacher is true, but {config.teacher} holds given scores and no model that could score new pairs; "
            "set it to false, or teach with a bi-encoder or a cross-encoder"
        )


def teacher_to_keep(config: TrainConfig) -> Callable[[], KeptTeacherModel] | None:
    """What loads the teacher for the matcher; None where none is kept. A model that cannot be saved is found now.

    With `keep_teacher` auto it is told why a teacher is not kept; with true the error is raised.
    """
    unwanted = config.keep_teacher is False or (config.keep_teacher == "auto" and config.score != "auto")
    if config.teacher is None or unwanted:
        return None
    folder = config.teacher
    if StoredTeacher(folder).kind == "scores":
        logger.warning("the matcher cannot keep its teacher, which is a column of given scores (keep_teacher)")
        return None
    try:
        require_saveable(StoredTeacher(folder).model(), Path(config.output_dir))
    except (ArtefactError, ConfigError, RefusedError) as error:
        if config.keep_teacher is True:
            raise
        logger.warning("the matcher cannot keep its teacher (keep_teacher): %s", error)
        return None
    return lambda: aboard(StoredTeacher(folder))


def aboard(stored: StoredTeacher) -> KeptTeacherModel:
    """The model of a teacher's folder, with the name and the licence of what it was made from."""
    name, licence = str(stored.describe()["name"]), None
    if (stored.folder / RUN).exists():  # a fine-tuned model's own name is that of its folder
        made = read_json(stored.folder / RUN)["config"]
        licence = licence_of(made["teacher_name_or_path"])
        name = made["teacher_name_or_path"] + (", fine-tuned" if stored.fine_tuned else "")
    return KeptTeacherModel(stored.model(), source={"name": name, "licence": licence})


def licence_of(name: str) -> str | None:
    """The licence of a model by a packaged name, or of the card in its folder; None where neither says one."""
    import yaml
    from huggingface_hub.repocard import metadata_load

    from flipkd.models import packaged_models

    if name in packaged_models():
        return packaged_models()[name].rpartition(", ")[2]
    card = Path(name) / "README.md"
    try:
        found = metadata_load(card) if card.is_file() else None
    except (OSError, ValueError, yaml.YAMLError):
        return None
    licence = (found or {}).get("license")
    return None if licence is None else str(licence)
