"""select: the pairs of a file whose value, by teacher or matcher, lies between two quantiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.command_config import SelectConfig
from flipkd.commands.matcher_teacher import calibrated_teacher, side_vectors, vector_teacher
from flipkd.commands.pair_files import read_rows
from flipkd.commands.pairs import normalised
from flipkd.commands.row_file import require_row_file, write_rows
from flipkd.data.labels import labels_of
from flipkd.data.pairs import pairs_of, read_pairs
from flipkd.data.sources import columns_of
from flipkd.diagnostics.domain import DomainDetector
from flipkd.errors import ConfigError, DataError, UsageError
from flipkd.progress import loading

Floats = NDArray[np.float64]
MARK, VALUE = "selected_by", "value"  # columns that are added


def select(config: SelectConfig) -> tuple[int, int]:
    """Write the pairs whose value lies between two quantiles, in their order; return their number and that of all pairs.

    Raises UsageError for a model that the value needs and is not given, and for a column `value` of another meaning; DataError
    when no pair is left.
    """
    require_row_file(config.output, source=config.pairs, mark=MARK)
    _require_settings(config)
    low, high = config.quantiles
    if VALUE in (present := columns_of(config.pairs)) and MARK not in present:  # with it, of an earlier selection
        raise UsageError(
            f"{config.pairs}: has a column {VALUE!r}, which the result adds; rename the column in the file"
        )
    pairs = read_pairs(config.pairs, columns=config.columns)
    value, allowed = VALUES[config.by](config, pairs)
    candidates = np.flatnonzero(allowed)
    if not len(candidates):
        raise DataError(
            f"{config.pairs}: the matcher decides all {len(pairs)} pairs as they are labelled, or none has a label"
        )
    position = _quantile_of(value[candidates])
    kept = candidates[(position >= low) & (position <= high)]
    if not len(kept):
        raise DataError(f"{config.pairs}: no pair is left of {len(candidates)}; widen --quantiles")
    rows = read_rows(config.pairs, columns=config.columns)[0]
    write_rows(config.output, [rows[k] | {MARK: config.by, VALUE: float(value[k])} for k in kept.tolist()])
    return len(kept), len(pairs)


def _require_settings(config: SelectConfig) -> None:
    config.refuse_unused(USES, by="by")
    for name in NEEDS[config.by]:
        if not getattr(config, name):
            raise UsageError(f"--by {config.by} needs --{name}")
    if config.by == "difficulty" and not config.matcher and not (config.teacher and config.validation_file):
        raise UsageError("--by difficulty needs --matcher, or --teacher and --validation_file")
    if config.by == "difficulty" and config.matcher and (config.teacher or config.validation_file):
        raise UsageError(
            "--by difficulty is that of --matcher, or of --teacher with --validation_file; give one of the two"
        )
    low, high = config.quantiles
    if not 0 <= low < high <= 1:
        raise ConfigError(f"quantiles: got {low:g} and {high:g}; give two numbers from 0 to 1, the lower one first")


def _quantile_of(value: Floats) -> Floats:
    """Return the position of each value from 0, the lowest, to 1; equal values share one, so that they stay together."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(value, "average") - 1) / max(len(value) - 1, 1), np.float64)


def _teacher_probability(config: SelectConfig, pairs: Any) -> Floats:
    teacher, fit, *_ = calibrated_teacher(str(config.teacher), str(config.validation_file), columns=config.columns)
    return fit.apply(teacher.signal(normalised(pairs)).pair_scores())


def _matcher_probability(config: SelectConfig, pairs: Any) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the probabilities [N] and the decisions [N] of the matcher."""
    loading(config.matcher)
    from flipkd.matcher import Matcher

    matcher = Matcher.from_pretrained(str(config.matcher))
    scores = matcher.predict(pairs_of(pairs), show_progress_bar=True)
    return matcher.calibration.apply(scores), np.asarray(scores, np.float64) >= matcher.threshold


def _difficulty(config: SelectConfig, pairs: Any) -> tuple[Floats, NDArray[np.bool_]]:
    by_matcher = config.matcher is not None
    probability = _matcher_probability(config, pairs)[0] if by_matcher else _teacher_probability(config, pairs)
    return 1 - np.abs(2 * probability - 1), np.ones(len(pairs), bool)


def _disagreement(config: SelectConfig, pairs: Any) -> tuple[Floats, NDArray[np.bool_]]:
    difference = _teacher_probability(config, pairs) - _matcher_probability(config, pairs)[0]
    return np.abs(difference), np.ones(len(pairs), bool)


def _unfamiliarity(config: SelectConfig, pairs: Any) -> tuple[Floats, NDArray[np.bool_]]:
    teacher = vector_teacher(str(config.teacher))
    known, pairs = normalised(read_pairs(str(config.known_file), columns=config.columns)), normalised(pairs)
    detector = DomainDetector(np.concatenate(side_vectors(teacher, known)))
    similarity = detector.pair_similarity(*side_vectors(teacher, pairs))
    return 1 - similarity, np.ones(len(pairs), bool)


def _errors(config: SelectConfig, pairs: Any) -> tuple[Floats, NDArray[np.bool_]]:
    """Value the pairs by the probability of the wrong answer; only those that are labelled and decided wrongly are allowed."""
    label = labels_of(pairs)
    probability, matches = _matcher_probability(config, pairs)
    return np.where(label == 1, 1 - probability, probability), (label >= 0) & (matches != (label == 1))


VALUES: dict[str, Callable[[SelectConfig, Any], tuple[Floats, NDArray[np.bool_]]]] = {
    "difficulty": _difficulty,
    "disagreement": _disagreement,
    "unfamiliarity": _unfamiliarity,
    "errors": _errors,
}
NEEDS = {
    "difficulty": (),
    "disagreement": ("teacher", "validation_file", "matcher"),
    "unfamiliarity": ("teacher", "known_file"),
    "errors": ("matcher",),
}
# setting -> values of `by` that use it
USES = {
    "teacher": ("difficulty", "disagreement", "unfamiliarity"),
    "validation_file": ("difficulty", "disagreement"),
    "known_file": ("unfamiliarity",),
    "matcher": ("difficulty", "disagreement", "errors"),
}
