"""Compare several systems on the same pairs; each run (system, seed) has one result file, so that a stop is resumable."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from flipkd.commands.pairs import content_hash, log_once, trainable_sets, warn_of_leaks
from flipkd.comparison.entries import Entry, entries
from flipkd.comparison.processes import run_in_processes
from flipkd.comparison.results import compute, find_result, scoring_settings
from flipkd.comparison.run import Run
from flipkd.comparison.summary import write_summary
from flipkd.config import CompareConfig
from flipkd.data.labels import labels_of
from flipkd.errors import DataError, FlipkdError
from flipkd.extras import require_extra

logger = logging.getLogger(__name__)


def compare(config: CompareConfig, *, processes: int = 1) -> list[dict[str, Any]]:
    """Return the results of all runs (system, seed), computed or read; each is also a file in `output_dir/results`.

    Each run scores the test pairs once; thresholds, calibration and the choice among a student's scores are fitted on
    validation only. With several `processes`, runs are computed in parallel; when some fail, the others are finished and
    then the first error is raised. Raises ConfigError for an unknown system, DataError for unlabelled validation or test
    pairs.

    Examples:
        >>> from flipkd import compare
        >>> from flipkd.config import CompareConfig
        >>> settings = {f"{name}_file": f"{name}.csv" for name in ("train", "validation", "test")}
        >>> results = compare(CompareConfig.check(settings | {"systems": ["always_match", "tfidf"]}))
        >>> [result["system"] for result in results]
        ['always_match', 'tfidf']
    """
    CompareConfig.require(config)
    require_extra("train", user="flipkd compare")
    chosen = entries(config)
    if added := [entry.name for entry in chosen if entry.name not in config.systems]:
        logger.warning("also computed, as parts of a blend: %s", ", ".join(added))
    with log_once():
        sets = _labelled_sets(config)
        runs = _runs(config, chosen, sets)
        # Before the first run, so that an error in the last run's settings appears now and not after hours.
        identities = _identities(runs, sets)
        results: list[dict[str, Any]] = []
        failed = _compute_in_processes(config, runs, identities, processes=processes) if processes > 1 else {}
        for number, (run, identity) in enumerate(zip(runs, identities, strict=True), 1):
            if number - 1 in failed:
                continue
            found = find_result(run, identity)
            logger.warning("[%d/%d] %s%s", number, len(runs), _title(run), " (found)" if found else "")
            results.append(found or compute(run, identity))
            if not found or number == len(runs) or failed:  # a summary of the finished runs, also after a stop
                about_page = write_summary(config, sets, results, planned=len(runs))
    if failed:
        _raise(failed, count=len(runs))
    logger.warning(about_page)
    return results


def _title(run: Run) -> str:
    return f"{run.config.data}: {run.entry.name}, seed {run.seed}"


def _runs(config: CompareConfig, chosen: Sequence[Entry], sets: dict[str, Any]) -> list[Run]:
    """Return one run per seed and entry, in the order of computation."""
    return [Run(config, sets, entry, seed) for seed in dict.fromkeys(config.seeds) for entry in chosen]


def _identities(runs: Sequence[Run], sets: Mapping[str, Any]) -> list[dict[str, Any]]:
    hashes = {name: content_hash(dataset) for name, dataset in sets.items()}
    return [run.identity() | {"data_hash": hashes} for run in runs]


def _compute_in_processes(
    config: CompareConfig, runs: Sequence[Run], identities: Sequence[dict[str, Any]], *, processes: int
) -> dict[int, Exception]:
    """Compute the missing runs in several processes; return the numbers of failed runs with their errors."""
    missing: dict[str, int] = {}  # only one run per set of equal settings
    for number in reversed(range(len(runs))):
        if not runs[number].entry.parts and not find_result(runs[number], identities[number]):
            missing[json.dumps(scoring_settings(identities[number]), sort_keys=True)] = number
    numbers, failed = sorted(missing.values()), {}
    outcomes = run_in_processes(partial(_compute_one, config), numbers, processes=processes)
    for done, (number, outcome) in enumerate(outcomes, 1):
        if isinstance(outcome, Exception):
            failed[number] = outcome
            logger.error("[%d/%d] %s failed: %s", done, len(numbers), _title(runs[number]), outcome)
        else:
            logger.warning("[%d/%d] %s (computed)", done, len(numbers), _title(runs[number]))
    return failed | _failed_blends(runs, failed)


def _failed_blends(runs: Sequence[Run], failed: Mapping[int, Exception]) -> dict[int, Exception]:
    """Return the blends with a failed part, each with the error of that part."""
    errors = {(runs[number].entry.name, runs[number].seed): error for number, error in failed.items()}
    return {
        number: errors[part.name, run.seed]
        for number, run in enumerate(runs)
        for part in run.entry.parts
        if (part.name, run.seed) in errors
    }


def _compute_one(config: CompareConfig, number: int) -> None:
    """Compute one run in a child process and write its result; the parent process logs the warnings about pairs."""
    for name in ("flipkd.commands.pairs", "sentence_transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    sets = _labelled_sets(config)
    run = _runs(config, entries(config), sets)[number]
    compute(run, _identities([run], sets)[0])


def _raise(failed: Mapping[int, Exception], *, count: int) -> None:
    first = failed[min(failed)]
    if not isinstance(first, FlipkdError):
        raise first
    raise type(first)(
        f"{len(failed)} of {count} runs failed; run the same command again to compute only these. The first error: {first}"
    ) from first


def _labelled_sets(config: CompareConfig) -> dict[str, Any]:
    sets = trainable_sets(config, "train", "validation", "test")
    warn_of_leaks(sets)
    for name, path in (("validation", config.validation_file), ("test", config.test_file)):
        unlabelled = np.flatnonzero(labels_of(sets[name]) < 0) + 1
        if len(unlabelled):
            raise DataError(
                f"{path}: {len(unlabelled)} of {len(sets[name])} rows have no label, the first is row "
                f"{unlabelled[0]}; a comparison needs labels here: label or remove these rows"
            )
    return sets
