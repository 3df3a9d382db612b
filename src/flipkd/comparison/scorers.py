"""Functions that run the systems: train a model when needed, then score the validation and the test pairs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.commands.pairs import trainable_sets
from flipkd.commands.teach import teach
from flipkd.commands.train import train
from flipkd.commands.tuning import column_teacher
from flipkd.comparison.processes import shared_folder
from flipkd.comparison.run import Run
from flipkd.comparison.scores import Split
from flipkd.comparison.shuffled import shuffled
from flipkd.comparison.student_scores import student_scores
from flipkd.comparison.systems import SYSTEMS
from flipkd.config import TrainConfig
from flipkd.data.pairs import sides_of
from flipkd.device import best_device
from flipkd.evaluate.combine import COMBINED, TEACHER, WITH_TEACHER, weighted_sum
from flipkd.student.contract import read_contract
from flipkd.student.loading import load_student
from flipkd.student.model import Student
from flipkd.teachers.stored_teacher import StoredTeacher
from flipkd.training.metrics_file import METRICS, read_totals
from flipkd.training.run import fresh_student


def always_match(run: Run) -> dict[str, Split]:
    """Return the same score for every pair: the baseline that decides match for all."""
    return {"score": Split(*(np.ones(len(pairs)) for pairs in run.held_out.values()))}


def tfidf(run: Run) -> dict[str, Split]:
    """Score pairs by the TF-IDF cosine of character n-grams, fitted on the training texts: the lower baseline."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    left, right = sides_of(run.sets["train"])
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True).fit([*left, *right])

    def cosine(pairs: Any) -> NDArray[np.float64]:
        a, b = (vectorizer.transform(side) for side in sides_of(pairs))
        return np.asarray(a.multiply(b).sum(axis=1), np.float64).ravel()

    return {"cosine": Split(*map(cosine, run.held_out.values()))}


def teacher(run: Run) -> dict[str, Split]:
    """Score pairs by a bi-encoder or cross-encoder, pretrained or fine-tuned, or by the score columns of the files."""
    if run.teach_config().teacher_type == "scores":
        given = column_teacher(run.held_out)
        found = [given.score(*sides_of(pairs)) for pairs in run.held_out.values()]
    else:
        stored = StoredTeacher(_teacher_folder(run))
        found = [stored.signal(pairs).pair_scores() for pairs in run.held_out.values()]
    return {"score": Split(*(scores.astype(np.float64) for scores in found))}


def student(run: Run) -> dict[str, Split]:
    """Score pairs by the student: untrained, or trained on labels and, if its system has one, on a teacher."""
    system = run.entry.system
    if system.kind == "untrained":
        model, _ = fresh_student(run.train_config(None))
    else:
        model = _train_student(run, run.train_config(_teacher_folder(run) if system.has_teacher else None))
    scores = _score_student(run, model, return_embeddings=system.has_vectors)
    return scores | _with_teacher(run, scores)


def shuffled_teacher(run: Run) -> dict[str, Split]:
    """Score pairs by a flipped student of a shuffled teacher: a control whose gain does not come from the teacher."""
    config = run.train_config(None)
    sets = [*trainable_sets(config, "train", "validation").values()]
    if config.unlabelled_file:
        sets.append(run.pool.dataset)
    folder = shuffled(_teacher_folder(run), sets, seed=run.seed)
    return _score_student(run, _train_student(run, run.train_config(str(folder))), return_embeddings=True)


def distilled_back(run: Run) -> dict[str, Split]:
    """Score pairs by a second student: it starts from the flipped one, whose matcher, with all parts of its score, teaches it."""
    # Without the encoder the first matcher could not teach the vectors.
    flipped = replace(
        run.entry, name="flipped", system=SYSTEMS["flipped"], train={**run.entry.train, "keep_teacher": True}
    )
    first = replace(run, entry=flipped).train_config(_teacher_folder(run))
    _train(first)
    second = run.train_config(first.output_dir).model_copy(update={"init_from": first.output_dir})
    scores = _score_student(run, _train_student(run, second), return_embeddings=True)
    return scores | _with_teacher(run, scores)


def _teacher_folder(run: Run) -> str:
    """Make the run's teacher, which parallel runs share, and return its folder."""
    config = run.teach_config()
    with shared_folder(config.output_dir):
        teach(config)
    return config.output_dir


def _with_teacher(run: Run, scores: dict[str, Split]) -> dict[str, Split]:
    """Return the sum of scores of a matcher that keeps its teacher; empty for a matcher without one."""
    if run.chosen_score != WITH_TEACHER:
        return {}
    stored, parts = StoredTeacher(run.teach_config().output_dir), {}
    weights = read_contract(Path(run.config.output_dir) / str(run.matcher)).score
    for name, pairs in run.held_out.items():
        columns = {kind: getattr(split, name) for kind, split in scores.items()}
        columns[TEACHER] = stored.signal(pairs).pair_scores()
        parts[name] = weighted_sum(columns, {str(kind): weight for kind, weight in weights.items()})
    return {WITH_TEACHER: Split(**parts)}


def _train(config: TrainConfig) -> Path:
    """Train a student, which parallel runs share, and return its matcher."""
    with shared_folder(config.output_dir):
        return train(config)


def _train_student(run: Run, config: TrainConfig) -> Student:
    folder = _train(config)
    run.matcher = folder.relative_to(run.config.output_dir).as_posix()
    if rate := read_totals(Path(config.output_dir) / METRICS).get("train_samples_per_second"):
        run.cost["train_pairs_per_second"] = rate
    student, contract = load_student(folder)
    one = COMBINED if len(contract.score) > 1 else next(iter(contract.score))
    run.chosen_score = one if contract.teacher is None else WITH_TEACHER
    return student.to(best_device())


def _score_student(run: Run, student: Student, *, return_embeddings: bool) -> dict[str, Split]:
    """Score the validation and the test pairs, and record the pairs per second."""
    start, symmetric = time.perf_counter(), run.config.symmetric
    scores = student_scores(student, run.held_out, return_embeddings=return_embeddings, symmetric=symmetric)
    pairs = sum(map(len, run.held_out.values())) * (2 if symmetric else 1)
    run.cost["score_pairs_per_second"] = round(pairs / (time.perf_counter() - start), 1)
    return scores
