"""What can be compared: each system gives scores of the validation and the test pairs, by whatever it learns from training."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from flipkd.config import TeachConfig
from flipkd.device import best_device
from flipkd.evaluate.combine import COMBINED, TEACHER, WITH_TEACHER, weighted_sum
from flipkd.stages.bench import Bench
from flipkd.stages.pairs import trainable_pairs
from flipkd.stages.shuffled import shuffled
from flipkd.stages.student_scores import student_scores
from flipkd.stages.teach import StoredTeacher, teach
from flipkd.stages.train import train
from flipkd.stages.tuning import given_scores
from flipkd.stages.units import Split
from flipkd.student.contract import read_contract
from flipkd.student.loading import load_student
from flipkd.student.model import Student
from flipkd.training.run import fresh_student
from flipkd.training.trainer import METRICS, totals

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
        sets.append(bench.pool.dataset)
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
    one = COMBINED if len(contract.score) > 1 else next(iter(contract.score))
    bench.decides_by = one if contract.teacher is None else WITH_TEACHER
    return student.to(best_device())


def _scored(bench: Bench, student: Student, *, represent: bool) -> dict[str, Split]:
    """Its scores of the validation and the test pairs, and how many pairs a second it scored."""
    start, held_out = time.perf_counter(), {name: bench.sets[name] for name in ("validation", "test")}
    scores = student_scores(student, held_out, represent=represent, symmetric=bench.config.symmetric)
    pairs = sum(map(len, held_out.values())) * (2 if bench.config.symmetric else 1)
    bench.cost["score_pairs_per_second"] = round(pairs / (time.perf_counter() - start), 1)
    return scores
