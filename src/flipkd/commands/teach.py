"""Fine-tune a small model on the training pairs, evaluate it, and cache its outputs for all texts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.cards.teacher_card import teacher_card
from flipkd.commands.folds import cross_fit
from flipkd.commands.pairs import content_hash, trainable_sets, warn_of_leaks
from flipkd.commands.tuning import final_teacher, require_consistent
from flipkd.config import TeachConfig
from flipkd.data.labels import labels_of
from flipkd.data.pairs import sides_of
from flipkd.evaluate.metrics import measure
from flipkd.extras import require_extra
from flipkd.files import CARD, folder_hash, write_json, write_text
from flipkd.progress import loading
from flipkd.run_lock import locked_run
from flipkd.teachers.store import ScoreStore
from flipkd.teachers.stored_teacher import FOLDS, STORE, TEACHER, make_loadable

logger = logging.getLogger(__name__)
OUT_OF_FOLD = "out_of_fold"


def teach(config: TeachConfig) -> dict[str, Any]:
    """Make the teacher folder `config.output_dir` for `flipkd train --teacher`; return the content of its `teacher.json`.

    With fine-tuning, `SentenceTransformer(output_dir)` or `CrossEncoder(output_dir)` loads it too, except an ensemble. A
    stopped run resumes: a finished model is kept, and cached outputs are not computed again.

    Examples:
        >>> from flipkd import teach
        >>> from flipkd.config import TeachConfig
        >>> settings = {"train_file": "train.csv", "validation_file": "validation.csv", "teacher_name_or_path": "encoder"}
        >>> summary = teach(TeachConfig.check(settings | {"output_dir": "new-teacher", "num_train_epochs": 1}))
        >>> summary["fine_tuned"], summary["validation"]["n"]
        (True, 24)
    """
    TeachConfig.require(config)
    require_extra("train", user="flipkd teach")
    require_consistent(config)
    sets, output_dir = _read_sets(config), Path(config.output_dir)
    identity = {
        "config": config.identity(exclude={"train_file", "validation_file", "output_dir"}),
        "data": {name: content_hash(dataset) for name, dataset in sets.items()},
        **local_model_entry(config.teacher_name_or_path),
    }
    with locked_run(output_dir, identity):
        if config.teacher_type != "scores":
            loading(config.teacher_name_or_path)
        summary = _make_teacher(config, sets, output_dir)
        make_loadable(output_dir)
        if summary["fine_tuned"]:
            write_text(output_dir / CARD, teacher_card(config, summary))
        write_json(output_dir / TEACHER, summary)
    return summary


def _read_sets(config: TeachConfig) -> dict[str, Any]:
    """Read the training pairs and the validation pairs, if there are any; warn of leaks, and of a teacher without direction."""
    sets = trainable_sets(config, "train", *(["validation"] if config.validation_file else []))
    if config.validation_file:
        warn_of_leaks(sets)
    if config.directed and config.teacher_type == "bi_encoder":
        logger.warning(
            "a bi-encoder gives (a, b) and (b, a) the same score; for directed pairs try teacher_type=cross_encoder"
        )
    return sets


def _make_teacher(config: TeachConfig, sets: dict[str, Any], output_dir: Path) -> dict[str, Any]:
    """Fine-tune the teacher, if it is to be, and store its outputs; return the content of `teacher.json`."""
    teacher, tuned = final_teacher(config, sets, output_dir)
    summary = {
        "fingerprint": teacher.fingerprint,
        "teacher": teacher.describe(),
        "max_length": config.max_length,
        "base": config.teacher_name_or_path,
        "fine_tuned": tuned,
    }
    store = ScoreStore(output_dir / STORE, fingerprint=teacher.fingerprint, describe=teacher.describe())
    for name, dataset in sets.items():
        scores = store.scores(*sides_of(dataset), teacher)
        known = np.flatnonzero(labels_of(dataset) >= 0)
        summary[name] = measure(scores[known], labels_of(dataset)[known])
    if config.folds and tuned:
        pairs = sets["train"].select(np.flatnonzero(labels_of(sets["train"]) >= 0))
        scores, summary[FOLDS] = cross_fit(config, pairs, output_dir / FOLDS, teacher=teacher)
        summary[OUT_OF_FOLD] = measure(scores, labels_of(pairs))
    elif config.folds:
        logger.info("folds are skipped: the teacher was not fine-tuned, so no training pair is in its training data")
    return summary


def local_model_entry(name: str) -> dict[str, str]:
    """Return {"model": hash of its files} for a model in a local folder, which may change under the same name; else {}."""
    return {"model": folder_hash(name)} if Path(name).is_dir() else {}
