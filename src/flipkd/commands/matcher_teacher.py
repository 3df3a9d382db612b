"""A finished matcher as a teacher: its score grades pairs, and the encoder that it keeps gives vectors."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from flipkd.commands.pairs import content_hash, labelled_pairs, normalised
from flipkd.data.labels import labels_of
from flipkd.data.pair_table import TeacherSignal
from flipkd.data.pairs import sides_of
from flipkd.errors import ConfigError
from flipkd.evaluate.calibration import LEAST_SLOPE, Calibration, fit_calibration
from flipkd.files import CARD, MANIFEST, check_manifest, read_json, sha256
from flipkd.progress import loading
from flipkd.run_lock import RUN
from flipkd.student.contract import CONTRACT, matcher_folder, read_contract
from flipkd.teachers.kept_teacher import KeptTeacherModel, load_kept_teacher
from flipkd.teachers.store import ScoreStore
from flipkd.teachers.stored_teacher import StoredTeacher, require_bi_encoder

if TYPE_CHECKING:
    from flipkd.matcher import Matcher

logger = logging.getLogger(__name__)
SCORES = "-scores"  # after the name of a matcher folder: the folder beside it with its scores and vectors
FLAT = 1.5 * LEAST_SLOPE


class TrainingTeacher(Protocol):
    """What a training run needs of its teacher."""

    fingerprint: str
    fine_tuned: bool
    kind: str

    @property
    def folds(self) -> str | None:
        """Fingerprint of the out-of-fold scores; None if there are none."""
        ...

    def signal(self, dataset: Any, *, out_of_fold: bool = False) -> TeacherSignal:
        """Teacher outputs for the pairs of a data set."""
        ...

    def pair_signal(self, left: Sequence[str], right: Sequence[str]) -> TeacherSignal:
        """Teacher outputs for the pairs (left_i, right_i)."""
        ...

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors [n, d] of a bi-encoder."""
        ...


def open_teacher(folder: str | Path, *, validation: Any) -> TrainingTeacher:
    """Return the teacher in a folder made by `flipkd teach`, or the matcher in a run or matcher folder."""
    if is_matcher(folder):
        return MatcherTeacher(folder, validation=validation)
    return StoredTeacher(folder)


def vector_teacher(folder: str | Path) -> TrainingTeacher:
    """Return the teacher in a folder for its vectors. Raises ConfigError for one that has none."""
    loading(str(folder))
    teacher = open_teacher(folder, validation=None)
    require_bi_encoder(folder, teacher.kind)
    return teacher


def side_vectors(teacher: TrainingTeacher, pairs: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the teacher's vectors [N, d] of the left and of the right texts."""
    left, right = sides_of(pairs)
    return teacher.vectors(left), teacher.vectors(right)


def calibrated_teacher(
    folder: str | Path, validation_file: str, *, columns: Mapping[str, str] | None
) -> tuple[TrainingTeacher, Calibration, np.ndarray, np.ndarray]:
    """Return the teacher in a folder and its calibration on a file of labelled pairs, with its scores of these and the labels."""
    known = normalised(labelled_pairs(validation_file, columns=columns))
    loading(str(folder))
    teacher, labels = open_teacher(folder, validation=known), labels_of(known)
    scores = teacher.signal(known).pair_scores()
    return teacher, fit_calibration(scores, labels, method="sigmoid"), scores, labels


def is_matcher(folder: str | Path) -> bool:
    """Return whether the folder is, or contains, a finished matcher."""
    return (matcher_folder(folder) / CONTRACT).exists()


class MatcherTeacher:
    """The matcher in `folder`; its scores and vectors are stored beside its folder, each computed once.

    With a kept bi-encoder, whose vectors fill the grid of a batch, the matcher's score of a pair is on the scale of its cosines:
    the cosine at which it is as sure of a match, by both calibrations on `validation`. Else it is the matcher's own score.
    Raises ArtefactError for a damaged folder.
    """

    fine_tuned = True

    def __init__(self, folder: str | Path, *, validation: Any) -> None:
        self.folder, self._validation = matcher_folder(folder), validation
        check_manifest(self.folder)
        self._kept = read_contract(self.folder).teacher
        self.fingerprint = sha256(self.folder / MANIFEST)
        self.kind = "bi_encoder" if self._kept is not None and self._kept.kind == "bi_encoder" else "matcher"

    @property
    def folds(self) -> str | None:
        """None: a matcher has no out-of-fold scores."""
        return None

    @cached_property
    def _matcher(self) -> Matcher:
        from flipkd.matcher import Matcher

        return Matcher.from_pretrained(self.folder)

    @cached_property
    def _kept_model(self) -> KeptTeacherModel:
        load = kept_teacher_of(self.folder)
        if load is None:
            raise ConfigError(f"{self.folder}: this matcher keeps no teacher; train it with --keep_teacher true")
        return load()

    def _store(self, name: str, fingerprint: str) -> ScoreStore:
        folder = self.folder.with_name(self.folder.name + SCORES) / name
        return ScoreStore(folder, fingerprint=fingerprint, describe={"kind": name, "name": str(self.folder)})

    @cached_property
    def _scores(self) -> ScoreStore:
        return self._store("matcher", self.fingerprint)

    @cached_property
    def _kept_outputs(self) -> ScoreStore:
        return self._store("kept_teacher", self.fingerprint if self._kept is None else self._kept.fingerprint)

    def _own_scores(self, left: Sequence[str], right: Sequence[str]) -> np.ndarray:
        return self._scores.cached_scores(
            left, right, lambda a, b: self._matcher.predict(list(zip(a, b, strict=True)))
        )

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors [n, d] of the bi-encoder that the matcher keeps."""
        return self._kept_outputs.cached_vectors(list(texts), lambda missing: self._kept_model.embed(missing))

    def signal(self, dataset: Any, *, out_of_fold: bool = False) -> TeacherSignal:
        """Teacher outputs for the pairs of a data set; with `out_of_fold` it warns of pairs that the matcher was trained on."""
        run = self.folder.parent / RUN
        recorded = read_json(run) if out_of_fold and run.exists() else {}
        if isinstance(recorded, dict) and recorded.get("data", {}).get("train") == content_hash(dataset):
            logger.warning(
                "%s was trained on these training pairs, so its scores of the labelled ones are overconfident; "
                "what it adds are its scores of mined and unlabelled pairs (unlabelled_file)",
                self.folder,
            )
        return self.pair_signal(*sides_of(dataset))

    def pair_signal(self, left: Sequence[str], right: Sequence[str]) -> TeacherSignal:
        """Scores of the pairs, with the vectors of both sides where the matcher keeps a bi-encoder."""
        scores = self._own_scores(left, right)
        if self.kind != "bi_encoder":
            return TeacherSignal(score=scores)
        slope, intercept = self._to_cosine
        vectors = self._kept_signal(left, right)
        return TeacherSignal(
            left=vectors.left, right=vectors.right, score=(slope * scores + intercept).astype(np.float32)
        )

    def probabilities(self, left: Sequence[str], right: Sequence[str]) -> np.ndarray:
        """Probabilities [N] of a match by the matcher's own score and calibration."""
        return Calibration.of(read_contract(self.folder).calibration).apply(self._own_scores(left, right))

    def _kept_signal(self, left: Sequence[str], right: Sequence[str]) -> TeacherSignal:
        if self.kind == "bi_encoder":
            both = self.vectors([*left, *right])
            return TeacherSignal(left=both[: len(left)], right=both[len(left) :])
        return TeacherSignal(
            score=self._kept_outputs.cached_scores(left, right, lambda a, b: self._kept_model.scores(a, b))
        )

    def kept_signal(self, dataset: Any) -> TeacherSignal | None:
        """Outputs of the teacher that the matcher keeps, which the next matcher may keep too; None if it keeps none."""
        return None if self._kept is None else self._kept_signal(*sides_of(dataset))

    def close(self) -> None:
        """Free the memory of its models: the base model of the student to train is then the only one."""
        for name in ("_matcher", "_kept_model"):
            self.__dict__.pop(name, None)
        gc.collect()  # hooks of the model refer to it

    @cached_property
    def _to_cosine(self) -> tuple[float, float]:
        """(slope, intercept) from the matcher's score to the cosine with the same probability of a match."""
        left, right, label = *sides_of(self._validation), labels_of(self._validation)
        rows = np.flatnonzero(label >= 0)
        cosines = self._kept_signal(left, right).pair_scores()[rows]
        own = fit_calibration(self._own_scores(left, right)[rows], label[rows], method="sigmoid")
        kept = fit_calibration(cosines, label[rows], method="sigmoid")
        if kept.slope * float(np.std(cosines)) < FLAT:
            raise ConfigError(
                f"{self.folder}: the bi-encoder that this matcher keeps is no better than chance on the validation pairs, so "
                "it cannot teach vectors; use another teacher"
            )
        return own.slope / kept.slope, (own.intercept - kept.intercept) / kept.slope


def kept_teacher_of(folder: str | Path) -> Callable[[], KeptTeacherModel] | None:
    """Return a function that loads the teacher which the matcher in `folder` keeps; None if it keeps none."""
    from flipkd.cards.matcher_card import kept_source
    from flipkd.device import best_device

    path = matcher_folder(folder)
    kept = read_contract(path).teacher
    if kept is None:
        return None

    def load() -> KeptTeacherModel:
        """Load it, with the name and the licence of its base model from the matcher's card."""
        model = load_kept_teacher(path, kept.model_dump(), device=best_device())
        card = path / CARD
        model.source = kept_source(card.read_text(encoding="utf-8")) if card.is_file() else {}
        return model

    return load
