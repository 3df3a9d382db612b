"""teach: a small model is fine-tuned on the training pairs, measured, and its values of all texts are stored."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flipkd.claims import claimed
from flipkd.config import TeachConfig
from flipkd.errors import ArtefactError, DataError
from flipkd.evaluate.metrics import measure
from flipkd.files import check_manifest, folder_hash, read_json, write_json
from flipkd.stages.pairs import content_hash, labelled, labels_of, trainable_pairs, warn_of_leaks
from flipkd.teachers.scores import ColumnTeacher
from flipkd.teachers.store import ScoreStore
from flipkd.teachers.teacher import load_teacher

if TYPE_CHECKING:
    from flipkd.training.batches import TeacherSignal

logger = logging.getLogger(__name__)
TEACHER = "teacher.json"
PASSED_ON = (
    "loss",
    "num_train_epochs",
    "per_device_train_batch_size",
    "learning_rate",
    "warmup_steps",
    "max_length",
    "seed",
    "prompt",
    "bf16",
)


def teach(config: TeachConfig) -> dict[str, Any]:
    """Make the folder `config.output_dir` that `flipkd train --teacher` takes; returns what `teacher.json` holds.

    A stopped run goes on: a finished model is kept, stored values are never computed again.
    """
    train_set = trainable_pairs(config.train_file, columns=config.columns, name="train")
    sets = {"train": train_set}
    if config.validation_file:
        sets["validation"] = trainable_pairs(config.validation_file, columns=config.columns, name="validation")
        warn_of_leaks(sets)
    output_dir = Path(config.output_dir)
    identity = {
        "config": config.model_dump(mode="json", exclude={"train_file", "validation_file", "output_dir"}),
        "data": {name: content_hash(dataset) for name, dataset in sets.items()},
        **local_model(config.teacher_name_or_path),
    }
    with claimed(output_dir, identity):
        teacher = _teacher(config, sets, output_dir)
        summary = {"fingerprint": teacher.fingerprint, "teacher": teacher.describe(), "max_length": config.max_length}
        store = ScoreStore(output_dir / "store", fingerprint=teacher.fingerprint, describe=teacher.describe())
        for name, dataset in sets.items():
            scores = store.scores(dataset["text1"][:], dataset["text2"][:], teacher)
            known = np.flatnonzero(labels_of(dataset) >= 0)
            summary[name] = measure(scores[known], labels_of(dataset)[known])
        write_json(output_dir / TEACHER, summary)
    return summary


def local_model(name: str) -> dict[str, str]:
    """{"model": hash of its files} for a model in a folder, where it may change under the same name; else nothing."""
    return {"model": folder_hash(name)} if Path(name).is_dir() else {}


def _teacher(config: TeachConfig, sets: dict[str, Any], output_dir: Path) -> Any:
    if config.teacher_type == "scores":
        return given_scores(sets)
    name = config.teacher_name_or_path
    if config.fine_tune:
        name = str(_finetuned(config, sets, output_dir / "model"))
    return load_teacher(name, kind=config.teacher_type, max_length=config.max_length, prompt=config.prompt)


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


def _finetuned(config: TeachConfig, sets: dict[str, Any], folder: Path) -> Path:
    """The fine-tuned model's folder; one that was finished before is kept."""
    from flipkd.teachers.finetune import finetune_teacher

    if folder.exists():
        check_manifest(folder)
        return folder
    finetune_teacher(
        config.teacher_name_or_path,
        labelled(sets["train"], name="train"),
        output_dir=folder,
        validation=labelled(sets["validation"], name="validation") if "validation" in sets else None,
        kind=config.teacher_type,
        **{name: getattr(config, name) for name in PASSED_ON},
    )
    _warn_if_worse(folder)
    return folder


def _warn_if_worse(folder: Path) -> None:
    measured = read_json(folder / "finetune.json")
    before, after = ((measured[when] or {}).get("average_precision") for when in ("before", "after"))
    if before is not None and after < before:
        logger.warning(
            "fine-tuning made the teacher worse on the validation pairs: average precision %.3f, %.3f before; "
            "take it as it comes (fine_tune=false), or try a lower learning_rate or another loss",
            after,
            before,
        )


class StoredTeacher:
    """The teacher of a folder that `teach` made; its model is loaded only for texts that are not stored yet."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / TEACHER).exists():
            raise ArtefactError(
                f"{self.folder}: is no folder that flipkd teach made (it holds no {TEACHER}); make one with "
                "flipkd teach --teacher_name_or_path NAME --output_dir FOLDER"
            )
        values = read_json(self.folder / TEACHER)
        if not _is_teacher(values):
            raise ArtefactError(f"{self.folder / TEACHER}: not a teacher of flipkd; make one with flipkd teach")
        self.fingerprint, self._describe, self.max_length = (
            values[name] for name in ("fingerprint", "teacher", "max_length")
        )
        self.kind = self._describe["kind"]
        self.store = ScoreStore(self.folder / "store", fingerprint=self.fingerprint, describe=self._describe)
        self._loaded: Any = None

    def describe(self) -> dict[str, Any]:
        """What `teach` recorded of the teacher."""
        return dict(self._describe)

    def signal(self, dataset: Any) -> TeacherSignal:
        """The stored values of a data set's pairs: vectors of both sides from a bi-encoder, else scores."""
        from flipkd.training.batches import TeacherSignal

        left, right = dataset["text1"][:], dataset["text2"][:]
        if self.kind == "bi_encoder":
            both = self.vectors([*left, *right])
            return TeacherSignal(left=both[: len(left)], right=both[len(left) :])
        return TeacherSignal(score=self.store.scores(left, right, _Scores(self)))

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """A bi-encoder's vectors [n, d] of any texts; what is not stored yet is stored."""
        return self.store.vectors(list(texts), _Vectors(self))

    def model(self) -> Any:
        """The teacher itself. Raises ArtefactError when it is not the one whose values are stored."""
        if self._loaded is None:
            if self.kind not in ("bi_encoder", "cross_encoder"):
                raise DataError(
                    f"{self.folder}: holds given scores only, and these pairs are not among them; "
                    "run flipkd teach on the files that you train with"
                )
            tuned = self.folder / "model"
            self._loaded = load_teacher(
                tuned if tuned.exists() else self._describe["name"],
                kind=self.kind,
                max_length=self.max_length,
                prompt=self._describe["prompt"],
            )
            if self._loaded.fingerprint != self.fingerprint:
                raise ArtefactError(
                    f"{self.folder}: its model is no longer the one whose values are stored; teach again"
                )
        return self._loaded


def _is_teacher(values: Any) -> bool:
    """Whether a teacher.json holds what is read of it; the fingerprint names a folder."""
    if not isinstance(values, dict) or not isinstance(values.get("teacher"), dict):
        return False
    about, length = values["teacher"], values.get("max_length", "")
    texts = [values.get("fingerprint"), about.get("kind"), about.get("name", ""), about.get("prompt") or ""]
    plain = all(isinstance(text, str) for text in texts)
    return plain and re.fullmatch("[0-9a-f]{64}", texts[0]) is not None and isinstance(length, int | None)


class _Vectors:
    def __init__(self, teacher: StoredTeacher) -> None:
        self.teacher, self.fingerprint, self.describe = teacher, teacher.fingerprint, teacher.describe

    def embed(self, texts: Any, *, progress: bool = False) -> np.ndarray:
        vectors: np.ndarray = self.teacher.model().embed(texts, progress=progress)
        return vectors


class _Scores:
    def __init__(self, teacher: StoredTeacher) -> None:
        self.teacher, self.fingerprint, self.describe = teacher, teacher.fingerprint, teacher.describe

    def score(self, left: Any, right: Any, *, progress: bool = False) -> np.ndarray:
        scores: np.ndarray = self.teacher.model().score(left, right, progress=progress)
        return scores
