"""train: an LLM student learns from labelled pairs and a teacher's stored values, and becomes a matcher folder."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flipkd import ranks
from flipkd.commands.kept_teacher import require_keepable, teacher_to_keep
from flipkd.commands.pairs import content_hash, labelled, labels_of, trainable_pairs, warn_of_leaks
from flipkd.commands.pool import (
    add_mined_pairs,
    add_pool_pairs,
    require_pool_for_ratio,
    require_vectors_for,
    unlabelled_pool,
)
from flipkd.commands.teach import StoredTeacher, local_model
from flipkd.config import TrainConfig
from flipkd.errors import DataError
from flipkd.files import write_json
from flipkd.progress import loading
from flipkd.run_lock import locked_run
from flipkd.teachers.preflight import preflight

if TYPE_CHECKING:
    from flipkd.data import Pool
    from flipkd.data.pair_table import PairTable
    from flipkd.student.model import Student

logger = logging.getLogger(__name__)
PREFLIGHT = "preflight.json"
PREFLIGHT_PAIRS = 400  # enough to tell a teacher from a coin, few enough to score in seconds


def train(config: TrainConfig) -> Path:
    """Train as `config` says and return the matcher folder; a stopped run goes on, a finished one is returned as it is.

    Raises DataError before any model is loaded, ConfigError, ArtefactError for a folder that holds another run,
    NumbersError when a sentinel stops the run, StoppedError after a signal.

    Examples:
        >>> from flipkd import train
        >>> from flipkd.config import TrainConfig
        >>> settings = {"train_file": "train.csv", "validation_file": "validation.csv", "teacher": "teacher"}
        >>> settings |= {"model_name_or_path": "llm", "num_train_epochs": 1, "max_text_length": 16}
        >>> folder = train(TrainConfig.check(settings | {"output_dir": "new-run"}))
        >>> folder.as_posix()
        'new-run/matcher'
    """
    require_pool_for_ratio(config)
    files = {"train": config.train_file, "validation": config.validation_file}
    sets = {
        name: trainable_pairs(path, columns=config.columns, name=name, directed=config.directed)
        for name, path in files.items()
    }
    warn_of_leaks(sets)
    pool = None
    if config.unlabelled_file:
        pool = unlabelled_pool(config.unlabelled_file, columns=config.columns, train=sets["train"])
        warn_of_leaks({"unlabelled": pool.dataset, "validation": sets["validation"]})
    loading(config.model_name_or_path)
    # They bring torch, which takes seconds: only once the files are known to be good.
    from flipkd.training import run
    from flipkd.training.arguments import training_arguments

    with ranks.together():
        # Refuses before the folder is claimed, so the mended command may use it; and joins the ranks.
        training_arguments(Path(config.output_dir), run.trainer_arguments(config))
        return _train(config, sets, pool)


def _train(config: TrainConfig, sets: dict[str, Any], pool: Pool | None) -> Path:
    from flipkd.student.quantization import require_bitsandbytes
    from flipkd.training import finish, processes, run, trainer

    data = {name: content_hash(dataset) for name, dataset in sets.items()}
    teacher = StoredTeacher(config.teacher) if config.teacher else None
    if teacher:
        data["teacher_fingerprint"] = teacher.fingerprint
        if teacher.folds:
            data["teacher_folds"] = teacher.folds
        if pool:
            require_vectors_for(pool, teacher)
            data["unlabelled"] = content_hash(pool.dataset)
    data |= initial_adapters_identity(config.init_from)
    tables = ranks.in_turn(
        lambda: {name: _table(dataset, teacher, trained_on=name == "train") for name, dataset in sets.items()}
    )
    objectives = run.run_objectives(config, tables["train"], tables["validation"])
    if config.load_in_4bit:
        require_bitsandbytes()
    learns_from_teacher = any("teacher" in term.needs for term in objectives)
    if not learns_from_teacher:  # nothing is to be learnt from a pair without a label
        tables["train"] = _table(labelled(sets["train"], name="train"), teacher, trained_on=True)
        if pool:
            logger.warning("unlabelled_file is not used: no objective learns from the teacher")
    require_keepable(config, teacher)

    def claim() -> AbstractContextManager[None]:
        identity = run.identity_of(config, data=data | local_model(config.model_name_or_path))
        remedy = "choose another output_dir; other threads, device or machine: --resume_elsewhere"
        return locked_run(
            config.output_dir, identity, mutable_keys=mutable_keys, transient_files=transient_files, remedy=remedy
        )

    # Paths may change between two starts of one run; what stands there may not, and is hashed.
    paths = {"train_file", "validation_file", "unlabelled_file", "teacher", "init_from"}
    mutable_keys = run.MUTABLE_KEYS | paths | (run.HARDWARE if config.resume_elsewhere else frozenset())
    transient_files = frozenset({PREFLIGHT, trainer.METRICS})  # without a checkpoint they say of no run that it began
    processes.warn_about_idle_gpus()
    with ranks.led(claim):
        finished = ranks.first(lambda: finish.finished(config))
        if ranks.same(finished is not None):
            folder = Path(config.output_dir) / finish.MATCHER
            logger.warning("%s: finished before; nothing to do", folder)
            return folder
        keepable = ranks.first(lambda: teacher_to_keep(config))
        table, validation = tables["train"], tables["validation"]
        if learns_from_teacher and teacher:
            table = _with_unlabelled(tables, pool, teacher, config)
        teacher = None  # the tables hold what is needed of it
        _require_same_rows(table)
        student, contract = run.fresh_student(config)
        _tell_of_cut(student, table)
        if config.teacher:
            ranks.first(lambda: _preflight(student, tables["validation"], Path(config.output_dir)))
        return run.train(
            student, contract, config, objectives=objectives, table=table, validation=validation, teacher=keepable
        )


def initial_adapters_identity(init_from: str | None) -> dict[str, str]:
    """{"init_from_hash": that of the matcher that a run starts from}, or nothing where it starts afresh."""
    from flipkd.student.initial_adapters import initial_adapters_hash

    return {} if init_from is None else {"init_from_hash": initial_adapters_hash(init_from)}


def _table(dataset: Any, teacher: StoredTeacher | None, *, trained_on: bool) -> PairTable:
    from flipkd.data.pair_table import PairTable

    signal = teacher.signal(dataset, out_of_fold=trained_on) if teacher else None
    return PairTable(left=dataset["text1"][:], right=dataset["text2"][:], label=labels_of(dataset), teacher=signal)


def _with_unlabelled(
    tables: Mapping[str, PairTable], pool: Pool | None, teacher: StoredTeacher, config: TrainConfig
) -> PairTable:
    """The training table, behind it pairs of the pool, and behind these the mined ones."""
    from flipkd.training.thresholds import teacher_calibration

    table = tables["train"]
    calibration = teacher_calibration(table, tables["validation"])
    wider = ranks.in_turn(lambda: add_pool_pairs(table, pool, teacher, calibration, config)) if pool else table
    return add_mined_pairs(wider, table, calibration, config)


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
    """Teacher against the student before this training, on validation pairs, written to preflight.json; warnings are logged."""
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
    logger.info("pre-flight: teacher %s, student before this training %s", report["teacher"], report["student"])
