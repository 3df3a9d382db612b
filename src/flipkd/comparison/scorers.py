"""How each system is run: train what it needs, score the validation and the test pairs."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from flipkd.commands.pairs import trainable_pairs
from flipkd.commands.teach import teach
from flipkd.commands.train import train
from flipkd.commands.tuning import given_scores
from flipkd.comparison.run import Run
from flipkd.comparison.scores import Split
from flipkd.comparison.shuffled import shuffled
from flipkd.comparison.student_scores import student_scores
from flipkd.config import TeachConfig
from flipkd.device import best_device
from flipkd.evaluate.combine import COMBINED, TEACHER, WITH_TEACHER, weighted_sum
from flipkd.student.contract import read_contract
from flipkd.student.loading import load_student
from flipkd.student.model import Student
from flipkd.teachers.stored_teacher import StoredTeacher
from flipkd.training.run import fresh_student
from flipkd.training.trainer import METRICS, read_totals


def always_match(run: Run) -> dict[str, Split]:
    """The same score for every pair: what saying yes to all of them gives."""
    return {"score": Split(*(np.ones(len(run.sets[name])) for name in ("validation", "test")))}


def tfidf(run: Run) -> dict[str, Split]:
    """Cosine of character n-grams, fitted on the training texts: the floor."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    left, right = run.texts("train")
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True).fit([*left, *right])

    def cosine(name: str) -> NDArray[np.float64]:
        a, b = (vectorizer.transform(side) for side in run.texts(name))
        return np.asarray(a.multiply(b).sum(axis=1), np.float64).ravel()

    return {"cosine": Split(cosine("validation"), cosine("test"))}


def teacher(run: Run) -> dict[str, Split]:
    """A small encoder: as it comes, fine-tuned on the training pairs, or a cross-encoder; or the files' own scores."""
    config = run.teach_config()
    if config.teacher_type == "scores":
        held_out = {name: run.sets[name] for name in ("validation", "test")}
        given = given_scores(held_out)
        return {"score": Split(*(given.score(*run.texts(name)).astype(np.float64) for name in held_out))}
    _teach(config)
    stored = StoredTeacher(config.output_dir)
    scores = [stored.signal(run.sets[name]).pair_scores().astype(np.float64) for name in ("validation", "test")]
    return {"score": Split(*scores)}


def _teach(config: TeachConfig) -> None:
    """Make the teacher's folder, or wait for another run that makes it and find it made."""
    folder = Path(config.output_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        teach(config)


def student(run: Run) -> dict[str, Split]:
    """The student: untrained, or trained on labels and, where its system has one, on a teacher."""
    system = run.entry.system
    if system.kind == "untrained":
        model, _ = fresh_student(run.train_config(None))
    else:
        model = _trained(run, _taught(run) if system.has_teacher else None)
    scores = _scored(run, model, return_embeddings=system.has_vectors)
    return scores | _with_teacher(run, scores)


def shuffled_teacher(run: Run) -> dict[str, Split]:
    """The flipped student of a teacher whose values belong to other texts: what it gains is not the teacher's."""
    config = run.train_config(None)
    files = {"train": config.train_file, "validation": config.validation_file}
    sets = [
        trainable_pairs(path, columns=config.columns, name=name, directed=config.directed)
        for name, path in files.items()
    ]
    if config.unlabelled_file:
        sets.append(run.pool.dataset)
    folder = shuffled(_taught(run), sets, seed=run.seed)
    return _scored(run, _trained(run, str(folder)), return_embeddings=True)


def _taught(run: Run) -> str:
    """The folder of the run's teacher."""
    settings = run.teach_config()
    _teach(settings)
    return settings.output_dir


def _with_teacher(run: Run, scores: dict[str, Split]) -> dict[str, Split]:
    """The sum that a matcher decides by which keeps its teacher; nothing for one that does not."""
    if run.chosen_score != WITH_TEACHER:
        return {}
    stored, parts = StoredTeacher(run.teach_config().output_dir), {}
    weights = read_contract(Path(run.config.output_dir) / str(run.matcher)).score
    for name in ("validation", "test"):
        columns = {kind: getattr(split, name) for kind, split in scores.items()}
        columns[TEACHER] = stored.signal(run.sets[name]).pair_scores()
        parts[name] = weighted_sum(columns, {str(kind): weight for kind, weight in weights.items()})
    return {WITH_TEACHER: Split(**parts)}


def _trained(run: Run, teacher_folder: str | None) -> Student:
    config = run.train_config(teacher_folder)
    folder = train(config)
    run.matcher = folder.relative_to(run.config.output_dir).as_posix()
    if rate := read_totals(Path(config.output_dir) / METRICS).get("train_samples_per_second"):
        run.cost["train_pairs_per_second"] = rate
    student, contract = load_student(folder)
    one = COMBINED if len(contract.score) > 1 else next(iter(contract.score))
    run.chosen_score = one if contract.teacher is None else WITH_TEACHER
    return student.to(best_device())


def _scored(run: Run, student: Student, *, return_embeddings: bool) -> dict[str, Split]:
    """Its scores of the validation and the test pairs, and how many pairs a second it scored."""
    start, held_out = time.perf_counter(), {name: run.sets[name] for name in ("validation", "test")}
    scores = student_scores(student, held_out, return_embeddings=return_embeddings, symmetric=run.config.symmetric)
    pairs = sum(map(len, held_out.values())) * (2 if run.config.symmetric else 1)
    run.cost["score_pairs_per_second"] = round(pairs / (time.perf_counter() - start), 1)
    return scores
