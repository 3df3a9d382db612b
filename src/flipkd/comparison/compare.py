"""compare: several systems on the same pairs, each run (system, seed) one resumable result file."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from flipkd.commands.pairs import content_hash, trainable_pairs, warn_of_leaks, warned_once
from flipkd.comparison.entries import Entry, entries
from flipkd.comparison.processes import in_processes
from flipkd.comparison.results import compute, find, settings_of
from flipkd.comparison.run import Run
from flipkd.comparison.summary import write_summary
from flipkd.config import CompareConfig
from flipkd.data.labels import labels_of
from flipkd.errors import DataError, FlipkdError
from flipkd.extras import require_extra

logger = logging.getLogger(__name__)


def compare(config: CompareConfig, *, processes: int = 1) -> list[dict[str, Any]]:
    """Results of all (system, seed), computed or read back; each is also a file under `output_dir/results`.

    Test pairs are read once per run; thresholds, calibration and the choice among a student's scores come from
    validation. With several `processes` runs are computed side by side; where some fail the others are finished, then
    the first failure is raised. Raises ConfigError for an unknown system, DataError for unlabelled validation or test pairs.
    """
    require_extra("train", user="flipkd compare")
    chosen = entries(config)
    if added := [entry.name for entry in chosen if entry.name not in config.systems]:
        logger.warning("computed as well, as parts of a blend: %s", ", ".join(added))
    with warned_once():
        sets = _labelled_sets(config)
        runs = _runs(config, chosen, sets)
        # Before the first run is computed: an error in the last one's settings shows now and not in some hours.
        identities = _identities(runs, sets)
        results: list[dict[str, Any]] = []
        failed = _side_by_side(config, runs, identities, processes=processes) if processes > 1 else {}
        for number, (run, identity) in enumerate(zip(runs, identities, strict=True), 1):
            if number - 1 in failed:
                continue
            found = find(run, identity)
            logger.warning("[%d/%d] %s%s", number, len(runs), _called(run), " (found)" if found else "")
            results.append(found or compute(run, identity))
            if not found or number == len(runs) or failed:  # readable while it runs, and after a stop
                about_page = write_summary(config, sets, results, planned=len(runs))
    if failed:
        _raise(failed, count=len(runs))
    logger.warning(about_page)
    return results


def _called(run: Run) -> str:
    return f"{run.config.data}: {run.entry.name}, seed {run.seed}"


def _runs(config: CompareConfig, chosen: Sequence[Entry], sets: dict[str, Any]) -> list[Run]:
    """One for each seed and entry, in the order in which they are computed."""
    return [Run(config, sets, entry, seed) for seed in dict.fromkeys(config.seeds) for entry in chosen]


def _identities(runs: Sequence[Run], sets: Mapping[str, Any]) -> list[dict[str, Any]]:
    hashes = {name: content_hash(dataset) for name, dataset in sets.items()}
    return [run.identity() | {"data_hash": hashes} for run in runs]


def _side_by_side(
    config: CompareConfig, runs: Sequence[Run], identities: Sequence[dict[str, Any]], *, processes: int
) -> dict[int, Exception]:
    """Compute the missing runs in several processes; returns the runs that failed, and why."""
    missing: dict[str, int] = {}  # one of several runs with the same settings
    for number in reversed(range(len(runs))):
        if not runs[number].entry.parts and not find(runs[number], identities[number]):
            missing[json.dumps(settings_of(identities[number]), sort_keys=True)] = number
    numbers, failed = sorted(missing.values()), {}
    outcomes = in_processes(partial(_in_own_process, config), numbers, processes=processes)
    for done, (number, outcome) in enumerate(outcomes, 1):
        if isinstance(outcome, Exception):
            failed[number] = outcome
            logger.error("[%d/%d] %s failed: %s", done, len(numbers), _called(runs[number]), outcome)
        else:
            logger.warning("[%d/%d] %s (computed)", done, len(numbers), _called(runs[number]))
    return failed | _failed_blends(runs, failed)


def _failed_blends(runs: Sequence[Run], failed: Mapping[int, Exception]) -> dict[int, Exception]:
    """The blends of runs that failed, each with the error of one of its parts."""
    errors = {(runs[number].entry.name, runs[number].seed): error for number, error in failed.items()}
    return {
        number: errors[part.name, run.seed]
        for number, run in enumerate(runs)
        for part in run.entry.parts
        if (part.name, run.seed) in errors
    }


def _in_own_process(config: CompareConfig, number: int) -> None:
    """Compute one run and write its result; warnings about the pairs come from the parent process."""
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
        f"{len(failed)} of {count} runs failed, the others are there; the same command computes what is missing. The first "
        f"of them: {first}"
    ) from first


def _labelled_sets(config: CompareConfig) -> dict[str, Any]:
    files = {"train": config.train_file, "validation": config.validation_file, "test": config.test_file}
    sets = {
        name: trainable_pairs(path, columns=config.columns, name=name, directed=config.directed)
        for name, path in files.items()
    }
    warn_of_leaks(sets)
    for name in ("validation", "test"):
        unlabelled = np.flatnonzero(labels_of(sets[name]) < 0) + 1
        if len(unlabelled):
            raise DataError(
                f"{files[name]}: {len(unlabelled)} of {len(sets[name])} rows have no label, the first is row "
                f"{unlabelled[0]}; a comparison is measured on labelled rows: label or remove them"
            )
    return sets
