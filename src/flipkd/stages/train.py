"""train: an LLM student learns from labelled pairs and a teacher's stored values, and becomes a matcher folder."""

from __future__ import annotations

import logging
import zlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flipkd import ranks
from flipkd.claims import claimed
from flipkd.config import MINED_BY_DEFAULT, TrainConfig
from flipkd.errors import ConfigError, DataError
from flipkd.files import write_json
from flipkd.stages.pairs import content_hash, labelled, labels_of, trainable_pairs, warn_of_leaks
from flipkd.stages.teach import StoredTeacher, local_model
from flipkd.teachers.preflight import preflight

if TYPE_CHECKING:
    from flipkd.student.model import Student
    from flipkd.training.batches import PairTable

logger = logging.getLogger(__name__)
PREFLIGHT = "preflight.json"
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
    # They bring torch, which takes seconds: only once the files are known to be good.
    from flipkd.training import run
    from flipkd.training.arguments import training_arguments

    with ranks.together():
        # Refuses before the folder is claimed, so the mended command may use it; and joins the ranks.
        training_arguments(Path(config.output_dir), run.passed_on(config))
        return _train(config, sets)


def _train(config: TrainConfig, sets: dict[str, Any]) -> Path:
    from flipkd.student.four_bit import require_bitsandbytes
    from flipkd.training import processes, run, trainer

    data = {name: content_hash(dataset) for name, dataset in sets.items()}
    teacher = StoredTeacher(config.teacher) if config.teacher else None
    if teacher:
        data["teacher_fingerprint"] = teacher.fingerprint
    tables = ranks.in_turn(lambda: {name: _table(dataset, teacher) for name, dataset in sets.items()})
    objectives = run.run_objectives(config, tables["train"], tables["validation"])
    if config.load_in_4bit:
        require_bitsandbytes()
    learns_from_teacher = any("teacher" in term.needs for term in objectives)
    if not learns_from_teacher:  # nothing is to be learnt from a pair without a label
        tables["train"] = _table(labelled(sets["train"], name="train"), teacher)
    teacher = None  # the tables hold what is needed of it

    def claim() -> AbstractContextManager[None]:
        identity = run.identity_of(config, data=data | local_model(config.model_name_or_path))
        otherwise = "choose another output_dir; other threads, device or machine: --set resume_elsewhere=true"
        return claimed(config.output_dir, identity, free=free, passing=passing, otherwise=otherwise)

    # Paths may change between two starts of one run; what stands there may not, and is hashed.
    free = run.FREE_TO_CHANGE | {"train_file", "validation_file", "teacher"}
    free |= run.HARDWARE if config.resume_elsewhere else frozenset()
    passing = frozenset({PREFLIGHT, trainer.METRICS})  # without a checkpoint they say of no run that it began
    processes.tell_of_idle_gpus()
    with ranks.led(claim):
        finished = ranks.first(lambda: run.finished(config))
        if ranks.same(finished is not None):
            folder = Path(config.output_dir) / run.MATCHER
            logger.warning("%s: finished before; nothing to do", folder)
            return folder
        table = _with_mined(tables["train"], config) if learns_from_teacher else tables["train"]
        _require_same_rows(table)
        student, contract = run.fresh_student(config)
        _tell_of_cut(student, table)
        if config.teacher:
            ranks.first(lambda: _preflight(student, tables["validation"], Path(config.output_dir)))
        return run.train(student, contract, config, table=table, validation=tables["validation"])


def _table(dataset: Any, teacher: StoredTeacher | None) -> PairTable:
    from flipkd.training.batches import PairTable

    signal = teacher.signal(dataset) if teacher else None
    return PairTable(left=dataset["text1"][:], right=dataset["text2"][:], label=labels_of(dataset), teacher=signal)


def _with_mined(table: PairTable, config: TrainConfig) -> PairTable:
    """`table` and behind its rows the pairs that `config.mined_ratio` asks for, without labels."""
    signal = table.teacher
    if signal is None or signal.left is None or signal.right is None:
        if config.mined_ratio:
            raise ConfigError("mined_ratio needs the vectors of a bi-encoder teacher; set it to 0 for any other")
        return table
    count = round((MINED_BY_DEFAULT if config.mined_ratio is None else config.mined_ratio) * len(table))
    if not count:
        return table
    from flipkd.teachers.mining import mine_pairs

    rows = mine_pairs(table.left, table.right, signal.left, signal.right, count=count, seed=config.seed)
    level = logging.INFO if len(rows[0]) == count else logging.WARNING
    logger.log(level, "mined %d of %d unlabelled pairs from the training texts", len(rows[0]), count)
    return table.with_pairs(*rows)


def _require_same_rows(table: PairTable) -> None:
    """Ranks that read different rows would take each other's texts for their own."""
    if not ranks.launched():
        return
    number = zlib.crc32(
        "\0".join([*table.left, *table.right]).encode("utf-8", "surrogatepass") + table.label.tobytes()
    )
    if ranks.same(number) != number:
        raise DataError(
            f"rank {ranks.rank()} has other training pairs than rank 0; give all of them the same files, teacher and kind "
            "of GPU"
        )


def _tell_of_cut(student: Student, table: PairTable) -> None:
    texts = list(dict.fromkeys([*table.left, *table.right]))
    if cut := student.prompt.truncated(texts):
        most = student.prompt.max_text_length
        logger.warning(
            "train: %d of %d texts have more than %d tokens and are cut (max_text_length)", cut, len(texts), most
        )


def _preflight(student: Student, validation: PairTable, output_dir: Path) -> None:
    """Teacher against untrained student on validation pairs, written to preflight.json; warnings are logged."""
    from flipkd.student.scoring import score_pairs

    rows = np.flatnonzero(validation.label >= 0)
    if len(rows) > PREFLIGHT_PAIRS:
        rows = np.sort(np.random.default_rng(0).choice(rows, PREFLIGHT_PAIRS, replace=False))
    untrained = score_pairs(
        student,
        [validation.left[i] for i in rows.tolist()],
        [validation.right[i] for i in rows.tolist()],
        progress="pre-flight",
    )
    if validation.teacher is None:
        raise ValueError("pre-flight without a teacher")
    report = preflight(
        teacher_scores=validation.teacher.pair_scores()[rows],
        student_scores=untrained.answer,
        labels=validation.label[rows],
    )
    write_json(output_dir / PREFLIGHT, report)
    for warning in report["warnings"]:
        logger.warning("pre-flight: %s", warning)
    logger.info("pre-flight: teacher %s, untrained student %s", report["teacher"], report["student"])
