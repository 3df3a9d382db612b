"""What can be compared: each system gives scores of the validation and the test pairs, by whatever it learns from training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from flipkd.config import CompareConfig, TeachConfig, TrainConfig
from flipkd.device import best_device
from flipkd.evaluate.combine import COMBINED, TEACHER, WITH_TEACHER, weighted_sum
from flipkd.stages.entries import LABELS_ONLY, PATHS, STUDENTS, Entry, short_hash
from flipkd.stages.pairs import content_hash, labels_of, trainable_pairs, warn_of_leaks
from flipkd.stages.pool import asked_of_pool, unlabelled_pool
from flipkd.stages.shuffled import shuffled
from flipkd.stages.student_scores import student_scores
from flipkd.stages.teach import StoredTeacher, local_model, teach
from flipkd.stages.train import started_from, train
from flipkd.stages.tuning import given_scores
from flipkd.stages.units import Split
from flipkd.student.contract import read_contract
from flipkd.student.loading import load_student
from flipkd.student.model import Student
from flipkd.training.run import fresh_student
from flipkd.training.trainer import METRICS, totals

Placed = TypeVar("Placed", TeachConfig, TrainConfig)
SYSTEMS = {
    "always_match": "flipkd.stages.systems:always_match",
    "tfidf": "flipkd.stages.systems:tfidf",
    "teacher": "flipkd.stages.systems:teacher",
    "teacher_finetuned": "flipkd.stages.systems:teacher",
    "cross_encoder": "flipkd.stages.systems:teacher",
    "untrained": "flipkd.stages.systems:untrained",
    "plain": "flipkd.stages.systems:plain",
    "no_teacher": "flipkd.stages.systems:no_teacher",
    "answer_kd": "flipkd.stages.systems:answer_kd",
    "paper": "flipkd.stages.systems:flipped",
    "shuffled_teacher": "flipkd.stages.systems:shuffled_teacher",
    "flipped": "flipkd.stages.systems:flipped",
}


@dataclass
class Bench:
    """One unit's work place: the pairs of the comparison, the entry and the seed; and what the unit leaves behind."""

    config: CompareConfig
    sets: dict[str, Any]
    entry: Entry
    seed: int
    cost: dict[str, float] = field(default_factory=dict)
    """Pairs a second in training and in scoring."""
    matcher: str | None = None
    """The trained student's folder, as seen from the output folder."""
    decides_by: str | None = None
    """The kind of score that the matcher in that folder decides by."""

    def texts(self, name: str) -> tuple[list[str], list[str]]:
        """Left and right texts of one split."""
        return self.sets[name]["text1"][:], self.sets[name]["text2"][:]

    @property
    def shared(self) -> dict[str, Any]:
        """Settings that every teacher and student of this unit has."""
        names = ("train_file", "validation_file", "columns", "directed")
        return {name: getattr(self.config, name) for name in names} | {"seed": self.seed}

    def identity(self) -> dict[str, Any]:
        """All settings that this unit's scores depend on, and what is in files that may change under the same name."""
        found, entry = self.entry.identity(self.shared), self.entry
        if entry.parts:
            return found | {"parts": [replace(self, entry=part).identity() for part in entry.parts]}
        own: dict[str, Any] = {}
        if entry.has_teacher:
            teach = self.teach_config()
            own |= {f"teach.{name}": value for name, value in self._own(teach, entry.teach).items()}
            own |= {f"teach.{name}": value for name, value in local_model(teach.teacher_name_or_path).items()}
        if entry.system in STUDENTS:
            train = self.train_config(None)
            own |= self._own(train, entry.train) | local_model(train.model_name_or_path)
            found |= {"symmetric": True} if self.config.symmetric else {}
            own |= started_from(train.init_from)
        return found | ({"own_files": own} if own else {})

    def _own(self, settings: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """Paths that this entry does not share with the comparison: of files of pairs the hash of what they hold."""
        own: dict[str, Any] = {name: given[name] for name in PATHS - {"init_from"} if name in given}
        for name in own.keys() & {"train_file", "validation_file", "unlabelled_file"}:
            if own[name] is None:
                continue
            if name == "unlabelled_file":
                dataset = unlabelled_pool(own[name], columns=settings.columns, train=self._train_set).dataset
            else:
                dataset = trainable_pairs(
                    own[name], columns=settings.columns, name=f"{self.entry.name}: {name}", directed=settings.directed
                )
            warn_of_leaks({f"{self.entry.name}: {name}": dataset, "test": self.sets["test"]})
            own[name] = content_hash(dataset)
        return own

    def teach_config(self) -> TeachConfig:
        """Settings of the unit's teacher; equal settings have one folder, whichever systems use it."""
        return self._placed(self.entry.teach_config(self.shared), "teacher")

    def train_config(self, teacher: str | None) -> TrainConfig:
        """Settings of the unit's student, which learns from the teacher in that folder."""
        config = self.entry.train_config({**self.shared, "teacher": teacher})
        if self.entry.equal_steps:
            all_rows = self._rows_per_label if self.entry.system in LABELS_ONLY else 1.0
            epochs = config.num_train_epochs * all_rows + self._epochs_of_pool
            config = config.model_copy(update={"num_train_epochs": epochs})
        return self._placed(config, self.entry.name)

    @cached_property
    def _train_set(self) -> Any:
        """The training pairs of the comparison, or of this entry's own file."""
        config = self.entry.train_config(self.shared)
        own = config.train_file != self.config.train_file or config.columns != self.config.columns
        if not own:
            return self.sets["train"]
        return trainable_pairs(config.train_file, columns=config.columns, name="train", directed=config.directed)

    @property
    def _rows_per_label(self) -> float:
        """All training rows by those with a label."""
        return len(self._train_set) / int((labels_of(self._train_set) >= 0).sum())

    @cached_property
    def _epochs_of_pool(self) -> float:
        """Epochs over the labelled rows that make as many steps as `flipped` makes of the pool's pairs."""
        config = TrainConfig.check({**self.shared, **self.entry.train})
        if not config.unlabelled_file:
            return 0.0
        pool = unlabelled_pool(config.unlabelled_file, columns=config.columns, train=self._train_set)
        labels = labels_of(self._train_set)
        asked = asked_of_pool(pool, labels, config.unlabelled_ratio)
        return config.num_train_epochs * asked / int((labels >= 0).sum())

    def _placed(self, settings: Placed, name: str) -> Placed:
        values = settings.model_dump(mode="json", exclude={"output_dir", "seed"})
        digest = short_hash(values | {"teacher": Path(values.get("teacher") or "").name})
        folder = Path(self.config.output_dir) / "runs" / f"{name}-{digest}-seed{self.seed}"
        return settings.model_copy(update={"output_dir": str(folder)})


def always_match(bench: Bench) -> dict[str, Split]:
    """The same score for every pair: what saying yes to all of them gives."""
    return {"score": Split(*(np.ones(len(bench.sets[name])) for name in ("validation", "test")))}


def tfidf(bench: Bench) -> dict[str, Split]:
    """Cosine of character n-grams, fitted on the training texts: the floor."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    left, right = bench.texts("train")
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True).fit([*left, *right])

    def cosine(name: str) -> NDArray[np.float64]:
        a, b = (vectorizer.transform(side) for side in bench.texts(name))
        return np.asarray(a.multiply(b).sum(axis=1), np.float64).ravel()

    return {"cosine": Split(cosine("validation"), cosine("test"))}


def teacher(bench: Bench) -> dict[str, Split]:
    """A small encoder: as it comes, fine-tuned on the training pairs, or a cross-encoder; or the files' own scores."""
    config = bench.teach_config()
    if config.teacher_type == "scores":
        held_out = {name: bench.sets[name] for name in ("validation", "test")}
        given = given_scores(held_out)
        return {"score": Split(*(given.score(*bench.texts(name)).astype(np.float64) for name in held_out))}
    _teach(config)
    stored = StoredTeacher(config.output_dir)
    scores = [stored.signal(bench.sets[name]).pair_scores().astype(np.float64) for name in ("validation", "test")]
    return {"score": Split(*scores)}


def _teach(config: TeachConfig) -> None:
    """Make the teacher's folder, or wait for another unit that makes it and find it made."""
    folder = Path(config.output_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        teach(config)


def untrained(bench: Bench) -> dict[str, Split]:
    """The student's answer before any training."""
    student, _ = fresh_student(bench.train_config(None))
    return _scored(bench, student, represent=False)


def plain(bench: Bench) -> dict[str, Split]:
    """The student with LoRA on the labels alone."""
    return _scored(bench, _trained(bench, None), represent=False)


def no_teacher(bench: Bench) -> dict[str, Split]:
    """The student whose answer and vectors both learn from the labels alone: what `flipped` is without its teacher."""
    return _scored(bench, _trained(bench, None), represent=True)


def answer_kd(bench: Bench) -> dict[str, Split]:
    """The student whose answer learns the teacher's probability, with mined pairs and without vectors."""
    return _scored(bench, _trained(bench, _taught(bench)), represent=False)


def flipped(bench: Bench) -> dict[str, Split]:
    """The student that also learns from a teacher."""
    scores = _scored(bench, _trained(bench, _taught(bench)), represent=True)
    return scores | _with_teacher(bench, scores)


def shuffled_teacher(bench: Bench) -> dict[str, Split]:
    """The flipped student of a teacher whose values belong to other texts: what it gains is not the teacher's."""
    config = bench.train_config(None)
    files = {"train": config.train_file, "validation": config.validation_file}
    sets = [
        trainable_pairs(path, columns=config.columns, name=name, directed=config.directed)
        for name, path in files.items()
    ]
    if config.unlabelled_file:
        sets.append(unlabelled_pool(config.unlabelled_file, columns=config.columns, train=sets[0]).dataset)
    folder = shuffled(_taught(bench), sets, seed=bench.seed)
    return _scored(bench, _trained(bench, str(folder)), represent=True)


def _taught(bench: Bench) -> str:
    """The folder of the unit's teacher."""
    settings = bench.teach_config()
    _teach(settings)
    return settings.output_dir


def _with_teacher(bench: Bench, scores: dict[str, Split]) -> dict[str, Split]:
    """The sum that a matcher decides by which keeps its teacher; nothing for one that does not."""
    if bench.decides_by != WITH_TEACHER:
        return {}
    stored, parts = StoredTeacher(bench.teach_config().output_dir), {}
    weights = read_contract(Path(bench.config.output_dir) / str(bench.matcher)).score
    for name in ("validation", "test"):
        columns = {kind: getattr(split, name) for kind, split in scores.items()}
        columns[TEACHER] = stored.signal(bench.sets[name]).pair_scores()
        parts[name] = weighted_sum(columns, {str(kind): weight for kind, weight in weights.items()})
    return {WITH_TEACHER: Split(**parts)}


def _trained(bench: Bench, teacher_folder: str | None) -> Student:
    config = bench.train_config(teacher_folder)
    folder = train(config)
    bench.matcher = folder.relative_to(bench.config.output_dir).as_posix()
    if rate := totals(Path(config.output_dir) / METRICS).get("train_samples_per_second"):
        bench.cost["train_pairs_per_second"] = rate
    student, contract = load_student(folder)
    bench.decides_by = COMBINED if len(contract.score) > 1 else next(iter(contract.score))
    if contract.teacher is not None:
        bench.decides_by = WITH_TEACHER
    return student.to(best_device())


def _scored(bench: Bench, student: Student, *, represent: bool) -> dict[str, Split]:
    """Its scores of the validation and the test pairs, and how many pairs a second it scored."""
    start, held_out = time.perf_counter(), {name: bench.sets[name] for name in ("validation", "test")}
    scores = student_scores(student, held_out, represent=represent, symmetric=bench.config.symmetric)
    pairs = sum(map(len, held_out.values())) * (2 if bench.config.symmetric else 1)
    bench.cost["score_pairs_per_second"] = round(pairs / (time.perf_counter() - start), 1)
    return scores
