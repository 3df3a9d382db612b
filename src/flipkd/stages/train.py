"""train: an LLM student learns from labelled pairs and a teacher's stored values, and becomes a matcher folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.config import TrainConfig
from flipkd.files import claimed, write_json
from flipkd.stages.pairs import content_hash, pair_table, trainable_pairs, warn_of_leaks
from flipkd.stages.teach import StoredTeacher
from flipkd.student.model import Student
from flipkd.student.scoring import score_pairs
from flipkd.teachers.preflight import preflight
from flipkd.train import run
from flipkd.train.batches import PairTable

logger = logging.getLogger(__name__)
PREFLIGHT_PAIRS = 400  # enough to tell a teacher from a coin, few enough to score in seconds


def train(config: TrainConfig) -> Path:
    """Train as `config` says and return the matcher folder; a stopped run goes on, a finished one is returned as it is.

    Raises DataError before any model is loaded, ConfigError, ArtefactError for a folder that holds another run,
    NumbersError when a sentinel stops the run, StoppedError after a signal.
    """
    sets = {
        "train": trainable_pairs(config.train_file, columns=config.columns, name="train"),
        "validation": trainable_pairs(config.validation_file, columns=config.columns, name="validation"),
    }
    warn_of_leaks(sets)
    data = {name: content_hash(dataset) for name, dataset in sets.items()}
    teacher = StoredTeacher(config.teacher) if config.teacher else None
    if teacher:
        data["teacher"] = teacher.fingerprint
    # The files' paths may change between two starts of one run; what they hold may not, and is hashed.
    free = run.FREE_TO_CHANGE | {"train_file", "validation_file"}
    with claimed(config.output_dir, run.identity_of(config, data=data), free=free):
        finished = run.finished(config)
        if finished:
            logger.warning("%s: finished before; nothing to do", finished)
            return finished
        tables = {name: pair_table(d, teacher.signal(d) if teacher else None) for name, d in sets.items()}
        run.run_objectives(config, tables["train"])
        student, contract = run.fresh_student(config)
        if teacher:
            _preflight(student, tables["validation"], Path(config.output_dir))
        return run.train(student, contract, config, table=tables["train"], validation=tables["validation"])


def _preflight(student: Student, validation: PairTable, output_dir: Path) -> dict[str, Any]:
    """Teacher against untrained student on validation pairs, written to preflight.json; warnings are logged."""
    rows = np.flatnonzero(validation.label >= 0)
    if len(rows) > PREFLIGHT_PAIRS:
        rows = np.sort(np.random.default_rng(0).choice(rows, PREFLIGHT_PAIRS, replace=False))
    untrained = score_pairs(
        student, [validation.left[i] for i in rows], [validation.right[i] for i in rows], progress="pre-flight"
    )
    if validation.teacher is None:
        raise ValueError("pre-flight without a teacher")
    report = preflight(
        teacher_scores=validation.teacher.pair_scores()[rows],
        student_scores=untrained.answer,
        labels=validation.label[rows],
    )
    write_json(output_dir / "preflight.json", report)
    for warning in report["warnings"]:
        logger.warning("pre-flight: %s", warning)
    logger.info("pre-flight: teacher %s, untrained student %s", report["teacher"], report["student"])
    return report
