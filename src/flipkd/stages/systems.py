"""What can be compared: each system gives scores of the validation and the test pairs, by whatever it learns from training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.config import CompareConfig, TeachConfig, TrainConfig
from flipkd.errors import ArtefactError
from flipkd.stages.pairs import labels_of
from flipkd.stages.teach import StoredTeacher, teach
from flipkd.stages.train import train
from flipkd.student.model import Student, load_student
from flipkd.student.scoring import score_pairs
from flipkd.training.run import fresh_student

SYSTEMS = {
    "tfidf": "flipkd.stages.systems:tfidf",
    "teacher": "flipkd.stages.systems:teacher_as_it_comes",
    "teacher_finetuned": "flipkd.stages.systems:teacher_finetuned",
    "cross_encoder": "flipkd.stages.systems:cross_encoder",
    "untrained": "flipkd.stages.systems:untrained",
    "plain": "flipkd.stages.systems:plain",
    "flipped": "flipkd.stages.systems:flipped",
}


@dataclass(frozen=True)
class Split:
    """Scores of one kind on validation and on test."""

    validation: NDArray[np.float64]
    test: NDArray[np.float64]


@dataclass(frozen=True)
class Bench:
    """The pairs and settings that all systems of a comparison share."""

    config: CompareConfig
    sets: dict[str, Any]

    def folder(self, name: str, seed: int) -> Path:
        """Where a system keeps what it trained."""
        return Path(self.config.output_dir) / "runs" / f"{name}-seed{seed}"

    def texts(self, name: str) -> tuple[list[str], list[str]]:
        """Left and right texts of one split."""
        return self.sets[name]["text1"][:], self.sets[name]["text2"][:]

    def teach_config(self, name: str, seed: int, changes: Mapping[str, Any] | None = None) -> TeachConfig:
        """Settings of the teacher of this comparison."""
        return TeachConfig.check(self._shared(name, seed) | self.config.teach | dict(changes or {}))

    def train_config(self, name: str, seed: int, changes: Mapping[str, Any] | None = None) -> TrainConfig:
        """Settings of a student of this comparison."""
        return TrainConfig.check(self._shared(name, seed) | self.config.train | dict(changes or {}))

    def _shared(self, name: str, seed: int) -> dict[str, Any]:
        config = self.config
        return {
            "train_file": config.train_file,
            "validation_file": config.validation_file,
            "columns": config.columns,
            "output_dir": str(self.folder(name, seed)),
            "seed": seed,
        }


def tfidf(bench: Bench, seed: int) -> dict[str, Split]:
    """Cosine of character n-grams, fitted on the training texts: the floor."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    left, right = bench.texts("train")
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True).fit([*left, *right])

    def cosine(name: str) -> NDArray[np.float64]:
        a, b = (vectorizer.transform(side) for side in bench.texts(name))
        return np.asarray(a.multiply(b).sum(axis=1), np.float64).ravel()

    return {"cosine": Split(cosine("validation"), cosine("test"))}


def teacher_as_it_comes(bench: Bench, seed: int) -> dict[str, Split]:
    """The small encoder without fine-tuning."""
    return _teacher(bench, bench.teach_config("teacher", seed, {"fine_tune": False}))


def teacher_finetuned(bench: Bench, seed: int) -> dict[str, Split]:
    """The small encoder fine-tuned on the training pairs: what flips its knowledge into the student."""
    return _teacher(bench, bench.teach_config("teacher_finetuned", seed))


def cross_encoder(bench: Bench, seed: int) -> dict[str, Split]:
    """A cross-encoder of the same size, fine-tuned on the same pairs: what one would pick instead."""
    return _teacher(bench, bench.teach_config("cross_encoder", seed, {"teacher_type": "cross_encoder"}))


def untrained(bench: Bench, seed: int) -> dict[str, Split]:
    """The student's answer before any training."""
    student, _ = fresh_student(bench.train_config("untrained", seed))
    return _student_scores(bench, student, represent=False)


def plain(bench: Bench, seed: int) -> dict[str, Split]:
    """The student with LoRA on the labels alone."""
    config = bench.train_config("plain", seed, {"objectives": {"answer_cross_entropy": 1.0}, "teacher": None})
    return _student_scores(bench, load_student(train(config))[0], represent=False)


def flipped(bench: Bench, seed: int) -> dict[str, Split]:
    """The student that also learns from the fine-tuned teacher."""
    teacher = bench.teach_config("teacher_finetuned", seed)  # shared by all systems of this seed that learn from it
    teach(teacher)
    config = bench.train_config("flipped", seed, {"teacher": teacher.output_dir})
    scores = _student_scores(bench, load_student(train(config))[0], represent=True)
    return scores | {"combined": _combined(scores, labels_of(bench.sets["validation"]))}


def _teacher(bench: Bench, config: TeachConfig) -> dict[str, Split]:
    teach(config)
    stored = StoredTeacher(config.output_dir)
    scores = [stored.signal(bench.sets[name]).pair_scores().astype(np.float64) for name in ("validation", "test")]
    return {"score": Split(*scores)}


def _student_scores(bench: Bench, student: Student, *, represent: bool) -> dict[str, Split]:
    found = [
        score_pairs(student, *bench.texts(name), represent=represent, progress=name) for name in ("validation", "test")
    ]
    scores = {"answer": Split(*(f.answer.astype(np.float64) for f in found))}
    if represent:
        cosines = [f.cosine for f in found]
        if any(cosine is None for cosine in cosines):
            raise ArtefactError("the student gave no vectors; its contract names no readout place")
        scores["cosine"] = Split(*(np.asarray(cosine, np.float64) for cosine in cosines))
    return scores


def _combined(scores: dict[str, Split], labels: NDArray[np.int64]) -> Split:
    """Log-odds of a logistic fit on answer and cosine, fitted on validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    columns = {name: np.column_stack([getattr(s, name) for s in scores.values()]) for name in ("validation", "test")}
    fit = make_pipeline(StandardScaler(), LogisticRegression()).fit(columns["validation"], labels)
    return Split(*(fit.decision_function(columns[name]) for name in ("validation", "test")))
