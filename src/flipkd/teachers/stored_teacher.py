"""StoredTeacher, the teacher in a folder made by `flipkd teach`: cached outputs, and the model for texts not cached."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.data.labels import labels_of
from flipkd.data.pair_table import TeacherSignal
from flipkd.data.pairs import sides_of
from flipkd.errors import ArtefactError, ConfigError, DataError
from flipkd.files import read_json, write_json
from flipkd.teachers.ensemble import members_of
from flipkd.teachers.store import ScoreStore
from flipkd.teachers.teacher import load_teacher

logger = logging.getLogger(__name__)
TEACHER = "teacher.json"  # in the folder of a teacher; the other names are folders beside it
MODEL = "model"  # fine-tuned
PRETRAINED = "pretrained"  # a copy, if it is better on validation than the fine-tuned model
STORE = "store"
FOLDS = "folds"  # also the key in teacher.json
MODULES, CONFIG = "modules.json", "config_sentence_transformers.json"  # of sentence-transformers
MAKE = "flipkd teach --teacher_name_or_path NAME --output_dir FOLDER"


class StoredTeacher:
    """The teacher in `folder`, which `flipkd teach` made; its model is loaded only for texts that are not cached.

    Raises ArtefactError for a folder without a valid teacher.json.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ArtefactError(f"{self.folder}: no such folder; make one with {MAKE}")
        if not (self.folder / TEACHER).exists():
            raise ArtefactError(f"{self.folder}: not a teacher folder, it contains no {TEACHER}; make one with {MAKE}")
        values = read_json(self.folder / TEACHER)
        if not _is_valid(values):
            raise ArtefactError(
                f"{self.folder / TEACHER}: not a valid teacher file of flipkd; make one with flipkd teach"
            )
        self.fingerprint, self._description, self.max_length = (
            values[name] for name in ("fingerprint", "teacher", "max_length")
        )
        self.fine_tuned = bool(values.get("fine_tuned", (self.folder / MODEL).exists()))
        self._folds = values.get(FOLDS)
        self.kind = self._description["kind"]
        self._model: Any = None

    def describe(self) -> dict[str, Any]:
        """Facts about the teacher that `flipkd teach` recorded."""
        return dict(self._description)

    def require_vectors(self) -> None:
        """Raise ConfigError unless the teacher is a bi-encoder: the others have no vectors of single texts."""
        require_bi_encoder(self.folder, self.kind)

    @cached_property
    def store(self) -> ScoreStore:
        """The cached outputs, read from disk at the first access."""
        return ScoreStore(self.folder / STORE, fingerprint=self.fingerprint, describe=self._description)

    @property
    def folds(self) -> str | None:
        """Fingerprint of the out-of-fold scores; None if there are none."""
        return None if self._folds is None else str(self._folds["fingerprint"])

    def signal(self, dataset: Any, *, out_of_fold: bool = False) -> TeacherSignal:
        """Teacher outputs for the pairs of a data set: vectors of both sides from a bi-encoder, else scores.

        `out_of_fold`, for training pairs: also use the scores of fold models that were not trained on the pair, if there
        are any.
        """
        left, right = sides_of(dataset)
        signal = self.pair_signal(left, right)
        if not out_of_fold or self._folds is None:
            return signal
        scores = stored_scores(self.folder / FOLDS, self._folds, left, right)
        label = labels_of(dataset)
        if missing := int((np.isnan(scores) & (label >= 0)).sum()):
            logger.warning(
                "%s: %d of %d labelled training pairs have no out-of-fold score; the teacher's score of these pairs may be "
                "overconfident",
                self.folder,
                missing,
                int((label >= 0).sum()),
            )
        return signal.with_out_of_fold(scores)

    def pair_signal(self, left: Sequence[str], right: Sequence[str]) -> TeacherSignal:
        """Teacher outputs for the pairs (left_i, right_i), as in `signal`."""
        if self.kind == "bi_encoder":
            both = self.vectors([*left, *right])
            return TeacherSignal(left=both[: len(left)], right=both[len(left) :])
        scores = self.store.cached_scores(left, right, lambda a, b: self.model().score(a, b))
        return TeacherSignal(score=scores)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors [n, d] of a bi-encoder for any texts; missing ones are computed and added to the cache."""
        return self.store.cached_vectors(list(texts), lambda missing: self.model().embed(missing))

    def model(self) -> Any:
        """The teacher model, loaded at the first call.

        Raises ArtefactError if its fingerprint is not that of the cached outputs, DataError for given scores.
        """
        if self._model is None:
            if self.kind not in ("bi_encoder", "cross_encoder"):
                raise DataError(
                    f"{self.folder}: contains only given scores, and no score for these pairs; "
                    "run flipkd teach on the files that you train with"
                )
            self._model = load_teacher(
                self.folder / MODEL if self.fine_tuned else self._pretrained(),
                kind=self.kind,
                max_length=self.max_length,
                prompt=self._description["prompt"],
            )
            if self._model.fingerprint != self.fingerprint:
                raise ArtefactError(
                    f"{self.folder}: the model is not the one that computed the cached outputs; run flipkd teach again"
                )
        return self._model

    def _pretrained(self) -> str | Path:
        copy = self.folder / PRETRAINED
        return copy if copy.exists() else str(self._description["name"])


def stored_scores(folder: Path, facts: Mapping[str, Any], left: Sequence[str], right: Sequence[str]) -> np.ndarray:
    """Out-of-fold scores [N]; NaN for pairs without one. Raises ArtefactError if some are lost."""
    store = ScoreStore(folder, fingerprint=facts["fingerprint"], describe=dict(facts))
    if len(store) != facts["stored"]:
        raise ArtefactError(
            f"{folder}: contains {len(store)} out-of-fold scores, expected {facts['stored']}; run the same flipkd teach "
            "command again to compute the missing ones"
        )
    return store.known_scores(left, right)


def _is_valid(values: Any) -> bool:
    """Whether a teacher.json has all fields that are read, each of its type; the fingerprint is part of a path."""
    if not isinstance(values, dict) or not isinstance(values.get("teacher"), dict):
        return False
    teacher, length = values["teacher"], values.get("max_length", "")
    texts = [values.get("fingerprint"), teacher.get("kind"), teacher.get("name", ""), teacher.get("prompt") or ""]
    all_texts = all(isinstance(text, str) for text in texts)
    return all_texts and re.fullmatch("[0-9a-f]{64}", texts[0]) is not None and isinstance(length, int | None)


def require_bi_encoder(folder: str | Path, kind: str) -> None:
    """Raise ConfigError if a teacher of this kind has no vectors of single texts."""
    if kind != "bi_encoder":
        raise ConfigError(
            f"{folder}: the teacher is a {kind}, which has no vectors of single texts; give a bi-encoder"
        )


def make_loadable(folder: Path) -> bool:
    """Write the two files that sentence-transformers reads first into the folder of a teacher; return whether it can load it.

    They name the modules in the subfolder of its model, so no weights are copied. An ensemble has no such form, and a model that
    was not to be fine-tuned is not in the folder.
    """
    name = PRETRAINED if (folder / PRETRAINED).exists() else MODEL
    model = folder / name
    if members_of(model) or not model.exists():
        return False
    modules = [module | {"path": (Path(name) / module["path"]).as_posix()} for module in read_json(model / MODULES)]
    write_json(folder / CONFIG, read_json(model / CONFIG))
    write_json(folder / MODULES, modules)
    return True
