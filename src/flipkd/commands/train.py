"""Train an LLM student on labelled pairs and a teacher's cached outputs, and save it as a matcher folder."""

from __future__ import annotations

import gc
import logging
import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flipkd import ranks
from flipkd.artefacts import check_model_folder
from flipkd.commands.kept_teacher import require_keepable, source_of, teacher_to_keep
from flipkd.commands.matcher_teacher import MatcherTeacher, TrainingTeacher
from flipkd.commands.mixed_teacher import MixedTeacher, require_teachers, training_teacher
from flipkd.commands.pairs import content_hash, labelled, log_once
from flipkd.commands.pool import add_mined_pairs, add_pool_pairs, require_vectors_for
from flipkd.commands.stages import read_inputs, require_same_stages, stage_configs
from flipkd.commands.teach import local_model_entry
from flipkd.config import TrainConfig
from flipkd.data.glossary import glossary_entry
from flipkd.data.labels import labels_of
from flipkd.data.pair_table import PairTable
from flipkd.data.pairs import sides_of
from flipkd.data.pool import Pool
from flipkd.errors import DataError
from flipkd.extras import require_extra
from flipkd.files import write_json
from flipkd.progress import loading
from flipkd.random_state import own_random_state
from flipkd.run_lock import locked_run
from flipkd.teachers.preflight import preflight

if TYPE_CHECKING:
    from flipkd.student.model import Student

logger = logging.getLogger(__name__)
PREFLIGHT = "preflight.json"
PREFLIGHT_PAIRS = 400  # enough to tell a teacher from chance, few enough to score in seconds


def train(config: TrainConfig) -> Path:
    """Train with `config` and return the matcher folder; resume a stopped run, and return a finished one unchanged.

    Raises DataError before any model is loaded, ConfigError, ArtefactError for a folder of another run, NumbersError when a
    health check stops the run, StoppedError after a signal.

    Examples:
        >>> from flipkd import train
        >>> from flipkd.config import TrainConfig
        >>> settings = {"train_file": "train.csv", "validation_file": "validation.csv", "teacher": "teacher"}
        >>> settings |= {"model_name_or_path": "llm", "num_train_epochs": 1, "max_text_length": 16}
        >>> folder = train(TrainConfig.check(settings | {"output_dir": "new-run"}))
        >>> folder.as_posix()
        'new-run/matcher'
    """
    TrainConfig.require(config)
    require_extra("train", user="flipkd train")
    stages = stage_configs(config)
    require_same_stages(config.output_dir, len(stages))
    with log_once():
        inputs = [read_inputs(stage) for stage in stages]  # errors of the last stage's data must not come hours later
    if Path(config.model_name_or_path).is_dir():
        check_model_folder(Path(config.model_name_or_path))  # an adapter or a matcher is told first of all
    require_teachers(config)
    loading(config.model_name_or_path)
    # These import torch, which takes seconds: only after the files are checked.
    from flipkd.training import run
    from flipkd.training.arguments import training_arguments
    from flipkd.training.fsdp import shards_base

    with own_random_state(), ranks.together():
        for stage in stages:
            # Raises before the folder is locked, so that the corrected command can use it; also joins the ranks.
            training_arguments(Path(stage.output_dir), run.trainer_arguments(stage))
            shards_base(stage)
        for number, (stage, (sets, pool)) in enumerate(zip(stages, inputs, strict=True), 1):
            if len(stages) > 1:
                logger.warning("stage %d of %d", number, len(stages))
            folder = _train(stage, sets, pool)
            gc.collect()  # hooks of the model refer to it, and the next stage loads another
    return folder


def _train(config: TrainConfig, sets: dict[str, Any], pool: Pool | None) -> Path:
    from flipkd.student.quantization import require_bitsandbytes
    from flipkd.training import finish, processes, run
    from flipkd.training.pair_weights import trust_weights

    teacher = training_teacher(config, validation=sets["validation"])
    data = _content(config, sets, pool, teacher)
    tables = ranks.rank_0_first(
        lambda: {name: _table(dataset, teacher, trained_on=name == "train") for name, dataset in sets.items()}
    )
    objectives = run.run_objectives(config, tables["train"], tables["validation"])
    if config.load_in_4bit:
        require_bitsandbytes()
    learns_from_teacher = any("teacher" in term.needs for term in objectives)
    if not learns_from_teacher:  # pairs without a label are then useless
        tables["train"] = _table(labelled(sets["train"], name="train"), teacher, trained_on=True)
        if pool:
            logger.warning("unlabelled_file is ignored: no objective learns from the teacher")
    if config.pair_weights == "trust":
        weight = trust_weights(tables["train"], tables["validation"])
        tables["train"] = replace(tables["train"], weight=weight)
    require_keepable(config, teacher, objectives={term.name for term in objectives})

    processes.warn_about_idle_gpus()
    with ranks.entered_on_rank_0(lambda: _lock(config, data)):
        finished = ranks.on_rank_0(lambda: finish.finished(config))
        if ranks.broadcast(finished is not None):
            folder = Path(config.output_dir) / finish.MATCHER
            logger.warning("%s: already finished; nothing to do", folder)
            return folder
        keepable = ranks.on_rank_0(lambda: teacher_to_keep(config))
        source = source_of(teacher.first if isinstance(teacher, MixedTeacher) else teacher) if teacher else None
        table, validation = tables["train"], tables["validation"]
        if learns_from_teacher and teacher:
            table = _add_unlabelled(tables, pool, teacher, config)
        kept_outputs = _kept_outputs(teacher, validation, sets["validation"])
        teacher = None  # not needed any more: the tables have its outputs
        _require_same_rows(table)
        student, contract = run.fresh_student(config)
        _warn_of_truncation(student, table)
        if config.teacher:
            _preflight(student, tables["validation"], Path(config.output_dir))
        return run.train(
            student,
            contract,
            config,
            objectives=objectives,
            table=table,
            validation=kept_outputs,
            teacher=keepable,
            teacher_source=source,
        )


def _content(
    config: TrainConfig, sets: dict[str, Any], pool: Pool | None, teacher: TrainingTeacher | None
) -> dict[str, Any]:
    """Return hashes of all that a run reads, as part of its identity. Raises ConfigError for a pool without vectors."""
    data: dict[str, Any] = {name: content_hash(dataset) for name, dataset in sets.items()}
    if teacher:
        data["teacher_fingerprint"] = teacher.fingerprint
        if teacher.folds:
            data["teacher_folds"] = teacher.folds
        if pool:
            require_vectors_for(pool, teacher)
            data["unlabelled"] = content_hash(pool.dataset)
    return data | initial_adapters_entry(config.init_from) | glossary_entry(config.glossary)


def _lock(config: TrainConfig, data: Mapping[str, str]) -> AbstractContextManager[None]:
    """Lock the run folder under the settings and the data of this run."""
    from flipkd.training import metrics_file, run

    # Paths may change on resume; the content of the files may not, and is hashed.
    paths = {"train_file", "validation_file", "unlabelled_file", "teacher", "other_teachers", "glossary", "init_from"}
    model = local_model_entry(config.model_name_or_path)
    paths |= {"model_name_or_path"} if model else set()
    return locked_run(
        config.output_dir,
        run.identity_of(config, data={**data, **model}),
        mutable_keys=run.MUTABLE_KEYS | paths | (run.HARDWARE if config.resume_elsewhere else frozenset()),
        transient_files=frozenset({PREFLIGHT, metrics_file.METRICS}),  # they alone do not count as a started run
        remedy="choose another output_dir",
    )


def initial_adapters_entry(init_from: str | None) -> dict[str, str]:
    """Return {"init_from_hash": hash of the initial adapters}, or {} for new adapters."""
    from flipkd.student.initial_adapters import initial_adapters_hash

    return {} if init_from is None else {"init_from_hash": initial_adapters_hash(init_from)}


def _table(dataset: Any, teacher: TrainingTeacher | None, *, trained_on: bool) -> PairTable:
    signal = teacher.signal(dataset, out_of_fold=trained_on) if teacher else None
    left, right = sides_of(dataset)
    return PairTable(left=left, right=right, label=labels_of(dataset), teacher=signal)


def _add_unlabelled(
    tables: Mapping[str, PairTable], pool: Pool | None, teacher: TrainingTeacher, config: TrainConfig
) -> PairTable:
    """Return the training table with the pool pairs and then the mined pairs appended."""
    from flipkd.training.thresholds import teacher_calibration

    table = tables["train"]
    calibration = teacher_calibration(table, tables["validation"])
    wider = ranks.rank_0_first(lambda: add_pool_pairs(table, pool, teacher, calibration, config)) if pool else table
    return add_mined_pairs(wider, table, teacher, calibration, config)


def _kept_outputs(teacher: TrainingTeacher | None, table: PairTable, dataset: Any) -> PairTable:
    """Return the validation table with the outputs of the teacher that the new matcher may keep; free a matcher's memory."""
    if not isinstance(teacher, MatcherTeacher | MixedTeacher):
        return table
    kept = replace(table, teacher=ranks.rank_0_first(lambda: teacher.kept_signal(dataset)))
    teacher.close()
    return kept


def _require_same_rows(table: PairTable) -> None:
    """Raise DataError when the ranks have different training rows: in-batch comparisons share their texts by row."""
    if not ranks.launched():
        return
    texts = "\0".join([*table.left, *table.right]).encode("utf-8", "surrogatepass")
    number = zlib.crc32(texts + table.label.tobytes())
    if ranks.broadcast(number) != number:
        raise DataError(
            f"rank {ranks.rank()} has other training pairs than rank 0; give all ranks the same files, teacher and GPU model"
        )


def _warn_of_truncation(student: Student, table: PairTable) -> None:
    texts = list(dict.fromkeys([*table.left, *table.right]))
    if cut := student.prompt.truncated(texts):
        most = student.prompt.max_text_length
        logger.warning(
            "train: %d of %d texts have more than %d tokens and are truncated (max_text_length)", cut, len(texts), most
        )


def _preflight(student: Student, validation: PairTable, output_dir: Path) -> None:
    """Compare the teacher with the student before training on validation pairs; write preflight.json and log its warnings."""
    from flipkd.student.scoring import score_pairs
    from flipkd.student.sharded import on_ranks_of

    known = validation.labelled()
    if len(known) > PREFLIGHT_PAIRS:
        known = known.rows(np.sort(np.random.default_rng(0).choice(len(known), PREFLIGHT_PAIRS, replace=False)))
    if known.teacher is None:
        raise ValueError("pre-flight without a teacher")
    teacher_scores = known.teacher.pair_scores()
    untrained = on_ranks_of(
        student, lambda: score_pairs(student, known.left, known.right, progress="pre-flight").answer
    )
    ranks.on_rank_0(lambda: _report_preflight(teacher_scores, untrained, known.label, output_dir))


def _report_preflight(teacher_scores: Any, student_scores: Any, labels: Any, output_dir: Path) -> None:
    report = preflight(teacher_scores=teacher_scores, student_scores=student_scores, labels=labels)
    write_json(output_dir / PREFLIGHT, report)
    for warning in report["warnings"]:
        logger.warning("pre-flight: %s", warning)
    logger.info("pre-flight: teacher %s, student before this training %s", report["teacher"], report["student"])
