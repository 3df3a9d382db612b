"""Fine-tune a small model on the training pairs, evaluate it, and cache its outputs for all texts."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flipkd.commands.folds import FOLDS, cross_fit, stored_scores
from flipkd.commands.pairs import content_hash, labels_of, trainable_pairs, warn_of_leaks
from flipkd.commands.tuning import MODEL, STORE, final_teacher, require_consistent
from flipkd.config import TeachConfig
from flipkd.errors import ArtefactError, DataError
from flipkd.evaluate.metrics import measure
from flipkd.files import folder_hash, read_json, write_json
from flipkd.progress import loading
from flipkd.run_lock import locked_run
from flipkd.teachers.store import ScoreStore
from flipkd.teachers.teacher import load_teacher

if TYPE_CHECKING:
    from flipkd.training.batches import TeacherSignal

logger = logging.getLogger(__name__)
TEACHER = "teacher.json"
OUT_OF_FOLD = "out_of_fold"


def teach(config: TeachConfig) -> dict[str, Any]:
    """Make the teacher folder `config.output_dir` for `flipkd train --teacher`; return the content of its `teacher.json`.

    A stopped run resumes: a finished model is kept, and cached outputs are not computed again.

    Examples:
        >>> from flipkd import teach
        >>> from flipkd.config import TeachConfig
        >>> settings = {"train_file": "train.csv", "validation_file": "validation.csv", "teacher_name_or_path": "encoder"}
        >>> summary = teach(TeachConfig.check(settings | {"output_dir": "new-teacher", "num_train_epochs": 1}))
        >>> summary["fine_tuned"], summary["validation"]["n"]
        (True, 24)
    """
    require_consistent(config)
    reading: dict[str, Any] = {"columns": config.columns, "directed": config.directed}
    train_set = trainable_pairs(config.train_file, name="train", **reading)
    sets = {"train": train_set}
    if config.validation_file:
        sets["validation"] = trainable_pairs(config.validation_file, name="validation", **reading)
        warn_of_leaks(sets)
    if config.directed and config.teacher_type == "bi_encoder":
        logger.warning(
            "a bi-encoder gives (a, b) and (b, a) the same score; for directed pairs try teacher_type=cross_encoder"
        )
    output_dir = Path(config.output_dir)
    identity = {
        "config": config.model_dump(mode="json", exclude={"train_file", "validation_file", "output_dir"}),
        "data": {name: content_hash(dataset) for name, dataset in sets.items()},
        **local_model_entry(config.teacher_name_or_path),
    }
    with locked_run(output_dir, identity):
        if config.teacher_type != "scores":
            loading(config.teacher_name_or_path)
        teacher, tuned = final_teacher(config, sets, output_dir)
        summary = {
            "fingerprint": teacher.fingerprint,
            "teacher": teacher.describe(),
            "max_length": config.max_length,
            "base": config.teacher_name_or_path,
            "fine_tuned": tuned,
        }
        store = ScoreStore(output_dir / STORE, fingerprint=teacher.fingerprint, describe=teacher.describe())
        for name, dataset in sets.items():
            scores = store.scores(dataset["text1"][:], dataset["text2"][:], teacher)
            known = np.flatnonzero(labels_of(dataset) >= 0)
            summary[name] = measure(scores[known], labels_of(dataset)[known])
        if config.folds and tuned:
            pairs = train_set.select(np.flatnonzero(labels_of(train_set) >= 0))
            scores, summary[FOLDS] = cross_fit(config, pairs, output_dir / FOLDS, teacher=teacher)
            summary[OUT_OF_FOLD] = measure(scores, labels_of(pairs))
        elif config.folds:
            logger.info(
                "folds are skipped: the teacher was not fine-tuned, so no training pair is in its training data"
            )
        write_json(output_dir / TEACHER, summary)
    return summary


def local_model_entry(name: str) -> dict[str, str]:
    """Return {"model": hash of its files} for a model in a local folder, which may change under the same name; else {}."""
    return {"model": folder_hash(name)} if Path(name).is_dir() else {}


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
        self.fine_tuned = bool(values.get("fine_tuned", (self.folder / MODEL).exists()))
        self._folds = values.get(FOLDS)
        self.kind = self._describe["kind"]
        self._loaded: Any = None

    def describe(self) -> dict[str, Any]:
        """What `teach` recorded of the teacher."""
        return dict(self._describe)

    @cached_property
    def store(self) -> ScoreStore:
        """Its stored values, read when they are first asked for: one may want nothing but the model."""
        return ScoreStore(self.folder / STORE, fingerprint=self.fingerprint, describe=self._describe)

    @property
    def folds(self) -> str | None:
        """What tells this teacher's out-of-fold scores from others; None where there are none."""
        return None if self._folds is None else str(self._folds["fingerprint"])

    def signal(self, dataset: Any, *, out_of_fold: bool = False) -> TeacherSignal:
        """The stored values of a data set's pairs: vectors of both sides from a bi-encoder, else scores.

        `out_of_fold`, for training pairs: with them the scores of members that did not see the pairs, where there are any.
        """
        from flipkd.training.batches import TeacherSignal

        left, right = dataset["text1"][:], dataset["text2"][:]
        if self.kind == "bi_encoder":
            both = self.vectors([*left, *right])
            signal = TeacherSignal(left=both[: len(left)], right=both[len(left) :])
        else:
            signal = TeacherSignal(score=self.store.scores(left, right, _Scores(self)))
        if not out_of_fold or self._folds is None:
            return signal
        scores = stored_scores(self.folder / FOLDS, self._folds, left, right)
        label = labels_of(dataset)
        if missing := int((np.isnan(scores) & (label >= 0)).sum()):
            logger.warning(
                "%s: %d of %d labelled training pairs were not cross-fitted; the teacher's score of these may be too sure",
                self.folder,
                missing,
                int((label >= 0).sum()),
            )
        return signal.with_out_of_fold(scores)

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
            self._loaded = load_teacher(
                self.folder / MODEL if self.fine_tuned else self._describe["name"],
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
