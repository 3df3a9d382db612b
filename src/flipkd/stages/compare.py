"""compare: several systems on the same pairs, each unit (system, seed) one resumable result file."""

from __future__ import annotations

import gc
import logging
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.config import CompareConfig
from flipkd.errors import ConfigError, DataError, nearest
from flipkd.evaluate.calibration import fit_calibration
from flipkd.evaluate.metrics import measure
from flipkd.evaluate.thresholds import best_threshold
from flipkd.files import read_json, write_json
from flipkd.stages.pairs import content_hash, labels_of, trainable_pairs, warn_of_leaks
from flipkd.stages.systems import SYSTEMS, Bench, Split
from flipkd.tables import pick

logger = logging.getLogger(__name__)
PACKAGES = ("torch", "transformers", "peft", "sentence-transformers", "scikit-learn", "flipkd")
CHOSEN_BY = "average_precision"  # on validation: a threshold's luck weighs less on it than on F1


def compare(config: CompareConfig) -> list[dict[str, Any]]:
    """One result per (system, seed), computed or read back; each is also a file under `output_dir/results`.

    Test pairs are read once per unit; thresholds, calibration and the choice among a student's scores come from
    validation. Raises ConfigError for an unknown system, DataError for unlabelled validation or test pairs.
    """
    for system in config.systems:
        if system not in SYSTEMS:
            raise ConfigError(f"no system is called {system!r}; {nearest(system, list(SYSTEMS))}")
    files = {"train": config.train_file, "validation": config.validation_file, "test": config.test_file}
    sets = {name: trainable_pairs(path, columns=config.columns, name=name) for name, path in files.items()}
    warn_of_leaks(sets)
    for name in ("validation", "test"):
        if (labels_of(sets[name]) < 0).any():
            raise DataError(f"{name}: some rows have no label; a comparison needs all of them")
    bench = Bench(config, sets)
    hashes = {name: content_hash(dataset) for name, dataset in sets.items()}
    units = [(system, seed) for seed in config.seeds for system in config.systems]
    results = []
    for number, (system, seed) in enumerate(units, 1):
        logger.warning("[%d/%d] %s: %s, seed %d", number, len(units), config.data, system, seed)
        results.append(_unit(bench, system, seed, hashes))
    return results


def _unit(bench: Bench, system: str, seed: int, hashes: Mapping[str, str]) -> dict[str, Any]:
    config = bench.config
    path = Path(config.output_dir) / "results" / f"{config.data}-{system}-seed{seed}.json"
    identity = {"teach": config.teach, "train": config.train, "data_hash": dict(hashes)}
    if path.exists():
        before: dict[str, Any] = read_json(path)
        if before.get("identity") == identity:
            logger.info("%s: found, not computed again", path)
            return before
    _reset_peak_memory()
    start = time.perf_counter()
    scores = pick(SYSTEMS, system, what="system")(bench, seed)
    seconds = time.perf_counter() - start
    by_score = {name: _measured(split, bench.sets) for name, split in scores.items()}
    chosen = max(by_score, key=lambda name: by_score[name]["validation"][CHOSEN_BY])
    result = {
        "data": config.data,
        "system": system,
        "seed": seed,
        "overrides": config.train if system in ("untrained", "plain", "flipped") else config.teach,
        "score": chosen,
        "metrics": by_score[chosen],
        "by_score": by_score,
        "seconds": round(seconds, 1),
        "peak_memory_bytes": _peak_memory(),
        "versions": {package: version(package) for package in PACKAGES} | {"python": platform.python_version()},
        "command": shlex.join(["flipkd", *sys.argv[1:]]),
        "identity": identity,
    }
    write_json(path, result)
    gc.collect()
    return result


def _measured(split: Split, sets: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Metrics on validation and test at the threshold and with the calibration that validation gave."""
    labels = {name: labels_of(sets[name]) for name in ("validation", "test")}
    threshold = best_threshold(split.validation, labels["validation"]).value
    calibration = fit_calibration(split.validation, labels["validation"], method="sigmoid")

    def measured(scores: np.ndarray, name: str) -> dict[str, float]:
        return measure(scores, labels[name], threshold=threshold, probabilities=calibration.apply(scores))

    return {"validation": measured(split.validation, "validation"), "test": measured(split.test, "test")}


def _reset_peak_memory() -> None:
    """Linux forgets the peak on request; elsewhere the peak of the whole process is reported."""
    gc.collect()
    reset = Path("/proc/self/clear_refs")
    try:
        reset.write_text("5", encoding="ascii")
    except OSError as error:
        logger.debug("peak memory is that of the whole process: %s", error)


def _peak_memory() -> int:
    import resource

    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
