"""Unlabelled pairs appended to the training pairs: from a pool, and mined from the training texts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from flipkd import ranks
from flipkd.commands.matcher_teacher import TrainingTeacher
from flipkd.commands.pairs import normalised
from flipkd.config import TrainConfig
from flipkd.config.train import DEFAULT_MINED_RATIO
from flipkd.data.check import check_pairs
from flipkd.data.pair_table import PairTable
from flipkd.data.pairs import pairs_of, sides_of
from flipkd.data.pool import Pool, read_pool
from flipkd.errors import ConfigError, DataError
from flipkd.evaluate.calibration import Calibration
from flipkd.text import normal_text

logger = logging.getLogger(__name__)


def unlabelled_pool(path: str, *, columns: Mapping[str, str] | None, train: Any) -> Pool:
    """Read a pool, drop pairs that are in `train` or duplicates, and log how many.

    Raises DataError for a file that cannot be read or has no new pair.
    """
    from datasets import Dataset

    pool = read_pool(path, columns=columns)
    if pool.labels is not None:
        logger.warning("unlabelled: the labels in column %s are ignored; the teacher scores these rows", pool.labels)
    if pool.alone:
        texts = list(dict.fromkeys(map(normal_text, pool.dataset["text1"][:])))
        return replace(pool, dataset=Dataset.from_dict({"text1": texts, "text2": texts}))
    pool = replace(pool, dataset=normalised(pool.dataset))
    if problems := check_pairs(pool.dataset, name="unlabelled", labels=False).problems:
        raise DataError(f"unlabelled: cannot be used: {'; '.join(problems)}")
    known = {(min(pair), max(pair)) for pair in pairs_of(train)}
    rows = []
    for row, pair in enumerate(pairs_of(pool.dataset)):
        key = (min(pair), max(pair))
        if key not in known:
            known.add(key)
            rows.append(row)
    if not rows:
        raise DataError(f"{path}: all {len(pool.dataset)} pairs are training pairs; give other pairs")
    if len(rows) < len(pool.dataset):
        logger.warning(
            "unlabelled: %d of %d pairs are training pairs or duplicates and are skipped",
            len(pool.dataset) - len(rows),
            len(pool.dataset),
        )
    return replace(pool, dataset=pool.dataset.select(rows))


def pool_size(pool: Pool, labels: np.ndarray, ratio: float | None) -> int:
    """Return the maximum number of pool pairs for training; labels: those of the training rows, -1 for none."""
    if ratio is None:
        return len(pool.dataset)
    count = round(ratio * int((labels >= 0).sum()))
    return count if pool.alone else min(count, len(pool.dataset))


def require_pool_for_ratio(config: TrainConfig) -> None:
    """Raise ConfigError when `unlabelled_ratio` is set without `unlabelled_file`."""
    if config.unlabelled_ratio is not None and config.unlabelled_file is None:
        raise ConfigError(
            f"unlabelled_ratio is {config.unlabelled_ratio:g}, but unlabelled_file is not set; set it, or leave the ratio out "
            "(mined_ratio is the ratio of pairs mined from the training texts)"
        )


def require_vectors_for(pool: Pool, teacher: TrainingTeacher) -> None:
    """Raise ConfigError for a pool of single texts with a teacher that is not a bi-encoder."""
    if pool.alone and teacher.kind != "bi_encoder":
        raise ConfigError(
            f"unlabelled_file has single texts, which need a bi-encoder teacher to form pairs, but this teacher is "
            f"{teacher.kind}; give pairs (text1, text2), or a bi-encoder"
        )


def add_pool_pairs(
    table: PairTable, pool: Pool, teacher: TrainingTeacher, calibration: Calibration, config: TrainConfig
) -> PairTable:
    """Append pool pairs with the teacher's scores to `table`, as many as `config.unlabelled_ratio` allows."""
    count = pool_size(pool, table.label, config.unlabelled_ratio)
    add = _add_single_texts if pool.alone else _add_pairs
    wider = add(table, pool, teacher, calibration, count=count, seed=config.seed)
    _log_probabilities(wider, len(wider) - len(table), calibration)
    return wider


def _add_pairs(
    table: PairTable, pool: Pool, teacher: TrainingTeacher, calibration: Calibration, *, count: int, seed: int
) -> PairTable:
    from flipkd.teachers.stratified_mining import sample_stratified

    signal = teacher.signal(pool.dataset)
    rows = sample_stratified(calibration.apply(signal.pair_scores()), count, seed=seed)
    drawn = pool.dataset.select(rows)
    return table.with_unlabelled(*sides_of(drawn), signal.rows(rows))


def _add_single_texts(
    table: PairTable, pool: Pool, teacher: TrainingTeacher, calibration: Calibration, *, count: int, seed: int
) -> PairTable:
    from flipkd.teachers.stratified_mining import mine_stratified

    texts = pool.dataset["text1"][:]
    partners = list(dict.fromkeys([*texts, *table.left, *table.right]))
    vectors = teacher.vectors(partners)  # the pool's texts come first
    left, right = mine_stratified(
        texts,
        partners,
        vectors[: len(texts)],
        vectors,
        count=count,
        calibration=calibration,
        given=zip(table.left, table.right, strict=True),
        seed=seed,
    )
    pairs = [texts[row] for row in left.tolist()], [partners[row] for row in right.tolist()]
    return table.with_unlabelled(*pairs, teacher.pair_signal(*pairs))


def add_mined_pairs(
    wider: PairTable, table: PairTable, teacher: TrainingTeacher, calibration: Calibration, config: TrainConfig
) -> PairTable:
    """Append to `wider` as many mined pairs of the texts of `table` as `config.mined_ratio` sets."""
    signal = table.teacher
    if signal is None or signal.left is None or signal.right is None:
        if config.mined_ratio:
            raise ConfigError(
                "mined_ratio needs the embeddings of a bi-encoder, which this teacher does not have; set it to 0"
            )
        return wider
    count = round((DEFAULT_MINED_RATIO if config.mined_ratio is None else config.mined_ratio) * len(table))
    if not count:
        return wider
    from flipkd.teachers.mining import mine_pairs
    from flipkd.teachers.stratified_mining import mine_stratified

    given = [*zip(wider.left, wider.right, strict=True)]
    texts = (table.left, table.right, signal.left, signal.right)
    if config.mining == "nearest":
        left, right = mine_pairs(*texts, count=count, given=given, seed=config.seed)
    else:
        left, right = mine_stratified(*texts, count=count, calibration=calibration, given=given, seed=config.seed)
    level = logging.INFO if len(left) == count else logging.WARNING
    logger.log(level, "mined %d of %d unlabelled pairs from the training texts", len(left), count)
    pairs = [table.left[row] for row in left.tolist()], [table.right[row] for row in right.tolist()]
    return wider.with_unlabelled(*pairs, ranks.rank_0_first(lambda: teacher.pair_signal(*pairs)))


def _log_probabilities(wider: PairTable, added: int, calibration: Calibration) -> None:
    if wider.teacher is None or not added:
        return
    probability = calibration.apply(wider.teacher.pair_scores()[-added:])
    shares = np.histogram(probability, bins=5, range=(0, 1))[0].tolist()
    logger.info("%d unlabelled pairs of the pool; count in each fifth of the teacher's probability: %s", added, shares)
