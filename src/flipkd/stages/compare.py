"""compare: several systems on the same pairs, each unit (system, seed) one resumable result file."""

from __future__ import annotations

import json
import logging
import platform
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.config import CompareConfig
from flipkd.errors import DataError, FlipkdError
from flipkd.evaluate.calibration import fit_calibration
from flipkd.evaluate.combine import CHOSEN_BY, SYMMETRIC
from flipkd.evaluate.metrics import measure
from flipkd.evaluate.thresholds import best_threshold
from flipkd.files import read_json, write_json
from flipkd.stages.bench import Bench
from flipkd.stages.blends import blend, is_current
from flipkd.stages.entries import Entry, entries
from flipkd.stages.pairs import content_hash, labels_of, trainable_pairs, warn_of_leaks, warned_once
from flipkd.stages.spread import spread
from flipkd.stages.summary import write_summary
from flipkd.stages.systems import SYSTEMS
from flipkd.stages.units import (
    SCORES_HASH,
    Split,
    command_line,
    peak_memory,
    read_scores,
    reset_peak_memory,
    result_path,
    save_scores,
    scores_path,
)
from flipkd.tables import pick

logger = logging.getLogger(__name__)
PACKAGES = ("torch", "transformers", "peft", "sentence-transformers", "scikit-learn", "flipkd")


def compare(config: CompareConfig, *, processes: int = 1) -> list[dict[str, Any]]:
    """One result per (system, seed), computed or read back; each is also a file under `output_dir/results`.

    Test pairs are read once per unit; thresholds, calibration and the choice among a student's scores come from
    validation. With several `processes` units are computed side by side; where some fail the others are finished, then
    the first failure is raised. Raises ConfigError for an unknown system, DataError for unlabelled validation or test pairs.

    Examples:
        >>> from flipkd import compare
        >>> from flipkd.config import CompareConfig
        >>> settings = {f"{name}_file": f"{name}.csv" for name in ("train", "validation", "test")}
        >>> results = compare(CompareConfig.check(settings | {"systems": ["always_match", "tfidf"]}))
        >>> [result["system"] for result in results]
        ['always_match', 'tfidf']
    """
    chosen = entries(config)
    if added := [entry.name for entry in chosen if entry.name not in config.systems]:
        logger.warning("computed as well, as parts of a blend: %s", ", ".join(added))
    with warned_once():
        sets = _labelled_sets(config)
        units = _units(config, chosen, sets)
        # All of them before the first unit runs: a fault of the last one is said now and not in some hours.
        identities = _identities(units, sets)
        results: list[dict[str, Any]] = []
        failed = _side_by_side(config, units, identities, processes=processes) if processes > 1 else {}
        for number, (bench, identity) in enumerate(zip(units, identities, strict=True), 1):
            if number - 1 in failed:
                continue
            found = _found(bench, identity)
            unit = f"{config.data}: {bench.entry.name}, seed {bench.seed}{' (found)' if found else ''}"
            logger.warning("[%d/%d] %s", number, len(units), unit)
            results.append(found or _computed(bench, identity))
            if (
                not found or number == len(units) or failed
            ):  # one can look while it runs, and a stop leaves what is finished
                about_page = write_summary(config, sets, results)
    if failed:
        _raise(failed, count=len(units))
    logger.warning(about_page)
    return results


def _units(config: CompareConfig, chosen: Sequence[Entry], sets: dict[str, Any]) -> list[Bench]:
    """One for each seed and entry, in the order in which they are computed."""
    return [Bench(config, sets, entry, seed) for seed in dict.fromkeys(config.seeds) for entry in chosen]


def _identities(units: Sequence[Bench], sets: Mapping[str, Any]) -> list[dict[str, Any]]:
    hashes = {name: content_hash(dataset) for name, dataset in sets.items()}
    return [bench.identity() | {"data_hash": hashes} for bench in units]


def _side_by_side(
    config: CompareConfig, units: Sequence[Bench], identities: Sequence[dict[str, Any]], *, processes: int
) -> dict[int, Exception]:
    """Have what is not there yet computed in several processes; returns the units that failed, and why."""
    missing: dict[str, int] = {}  # of units with the same settings one is computed
    for number in reversed(range(len(units))):
        if not units[number].entry.parts and not _found(units[number], identities[number]):
            missing[json.dumps(_settings(identities[number]), sort_keys=True)] = number
    numbers, failed = sorted(missing.values()), {}
    for ended, (number, made) in enumerate(spread(partial(_in_own_process, config), numbers, processes=processes), 1):
        unit = f"[{ended}/{len(numbers)}] {config.data}: {units[number].entry.name}, seed {units[number].seed}"
        if isinstance(made, Exception):
            failed[number] = made
            logger.error("%s failed: %s", unit, made)
        else:
            logger.warning("%s (computed)", unit)
    return failed | _without_parts(units, failed)


def _without_parts(units: Sequence[Bench], failed: Mapping[int, Exception]) -> dict[int, Exception]:
    """The blends of units that failed."""
    lost = {(units[number].entry.name, units[number].seed): error for number, error in failed.items()}
    found = {}
    for number, bench in enumerate(units):
        for part in bench.entry.parts:
            if error := lost.get((part.name, bench.seed)):
                found[number] = error
    return found


def _in_own_process(config: CompareConfig, number: int) -> None:
    """Compute one unit and write its result; what is wrong with the pairs is said by the process that began it."""
    for name in ("flipkd.stages.pairs", "sentence_transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    sets = _labelled_sets(config)
    bench = _units(config, entries(config), sets)[number]
    _computed(bench, _identities([bench], sets)[0])


def _raise(failed: Mapping[int, Exception], *, count: int) -> None:
    first = failed[min(failed)]
    if not isinstance(first, FlipkdError):
        raise first
    raise type(first)(
        f"{len(failed)} of {count} units failed, the others are there; the same command computes what is missing. The first "
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


def _computed(bench: Bench, identity: Mapping[str, Any]) -> dict[str, Any]:
    reset_peak_memory()
    start = time.perf_counter()
    scores = blend(bench) if bench.entry.parts else pick(SYSTEMS, bench.entry.system, what="system")(bench)
    seconds = time.perf_counter() - start
    result = {
        "data": bench.config.data,
        "name": bench.entry.name,
        "system": bench.entry.system,
        "seed": bench.seed,
        "overrides": bench.entry.overrides,
        **_figures(scores, bench.sets, chosen=bench.decides_by),
        "seconds": round(seconds, 1),
        "cost": bench.cost,
        "matcher": bench.matcher,
        "peak_memory_bytes": peak_memory(),
        "versions": {package: version(package) for package in PACKAGES} | {"python": platform.python_version()},
        "command": command_line(),
        "identity": identity,
    }
    path = _path(bench)
    result[SCORES_HASH] = save_scores(scores_path(path), scores)
    write_json(path, result)
    return result


def _path(bench: Bench) -> Path:
    return result_path(bench.config.output_dir, bench.config.data, bench.entry.name, bench.seed)


def _found(bench: Bench, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of these very settings, whatever it was called when it was computed: a variant may have become the default."""
    path = _path(bench)
    others = path.parent.glob(f"{bench.config.data}-*-seed{bench.seed}.json")
    for place in dict.fromkeys([path, *sorted(others)]):
        if not place.exists() or not scores_path(place).exists():
            continue
        before: dict[str, Any] = read_json(place)
        if _settings(before.get("identity", {})) != _settings(identity):
            continue
        stored = read_scores(scores_path(place), sha256=before.get(SCORES_HASH))  # older results have none
        if stored.keys() != before["by_score"].keys():
            continue
        scores = {kind: stored[kind] for kind in before["by_score"]}  # a scores file keeps no order
        if bench.entry.parts and not is_current(bench, scores):
            continue
        logger.info("%s: found, not computed again", place)
        # What costs is the scores; figures are measured again, in case they are measured otherwise by now.
        after = before | _figures(scores, bench.sets, chosen=before["score"])
        if place != path or before["identity"] != identity:
            after |= {
                "data": bench.config.data,
                "name": bench.entry.name,
                "overrides": bench.entry.overrides,
                "identity": identity,
                "command": command_line(),  # the earlier one may ask for something else by now
            }
            if place != path:
                after[SCORES_HASH] = save_scores(scores_path(path), scores)
        if after != before:
            write_json(path, after)
        return after
    return None


def _settings(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What scores depend on: all but what a variant calls it."""
    return {name: value for name, value in identity.items() if name != "overrides"}


def _figures(scores: Mapping[str, Split], sets: Mapping[str, Any], *, chosen: str | None) -> dict[str, Any]:
    """What a result says of its scores: which kind was chosen, on validation unless it is given, and the metrics."""
    by_score = {name: _measured(split, sets) for name, split in scores.items()}
    given = [name for name in by_score if not name.endswith(SYMMETRIC)]
    chosen = chosen or max(given, key=lambda name: by_score[name]["validation"][CHOSEN_BY])
    return {"score": chosen, "metrics": by_score[chosen], "by_score": by_score}


def _measured(split: Split, sets: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Metrics on validation and test at the threshold and with the calibration that validation gave."""
    labels = {name: labels_of(sets[name]) for name in ("validation", "test")}
    threshold = best_threshold(split.validation, labels["validation"]).value
    calibration = fit_calibration(split.validation, labels["validation"], method="sigmoid")

    def measured(scores: np.ndarray, name: str) -> dict[str, float]:
        return measure(scores, labels[name], threshold=threshold, probabilities=calibration.apply(scores))

    return {"validation": measured(split.validation, "validation"), "test": measured(split.test, "test")}
