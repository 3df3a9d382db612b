"""The result of one run: computed, or found on disk; its figures."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.commands.results import command_line
from flipkd.comparison.blends import is_current
from flipkd.comparison.measuring import peak_memory, reset_peak_memory
from flipkd.comparison.run import Run
from flipkd.comparison.scores import SCORES_HASH, Split, read_scores, result_path, save_scores, scores_path
from flipkd.data.labels import labels_of
from flipkd.evaluate.calibration import fit_calibration
from flipkd.evaluate.combine import CHOSEN_BY, SYMMETRIC
from flipkd.evaluate.metrics import measure
from flipkd.evaluate.thresholds import best_threshold
from flipkd.files import read_json, write_json
from flipkd.tables import pick

logger = logging.getLogger(__name__)
PACKAGES = ("torch", "transformers", "peft", "sentence-transformers", "scikit-learn", "flipkd")


def compute(run: Run, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Run the system and write scores and result."""
    reset_peak_memory()
    start = time.perf_counter()
    scores = pick({}, run.entry.system.run, what="system")(run)
    seconds = time.perf_counter() - start
    result = {
        "data": run.config.data,
        "name": run.entry.name,
        "system": run.entry.system.name,
        "seed": run.seed,
        "overrides": run.entry.overrides,
        **figures(scores, run.sets, chosen=run.chosen_score),
        "seconds": round(seconds, 1),
        "cost": run.cost,
        "matcher": run.matcher,
        "peak_memory_bytes": peak_memory(),
        "versions": {package: version(package) for package in PACKAGES} | {"python": platform.python_version()},
        "command": command_line(),
        "identity": identity,
    }
    path = _path(run)
    result[SCORES_HASH] = save_scores(scores_path(path), scores)
    write_json(path, result)
    return result


def _path(run: Run) -> Path:
    return result_path(run.config.output_dir, run.config.data, run.entry.name, run.seed)


def find(run: Run, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result with these settings, under whatever name it was computed: a variant may have become the default."""
    path = _path(run)
    others = path.parent.glob(f"{run.config.data}-*-seed{run.seed}.json")
    for file in dict.fromkeys([path, *sorted(others)]):
        if not file.exists() or not scores_path(file).exists():
            continue
        before: dict[str, Any] = read_json(file)
        if settings_of(before.get("identity", {})) != settings_of(identity):
            continue
        stored = read_scores(scores_path(file), sha256=before.get(SCORES_HASH))  # older results have none
        if stored.keys() != before["by_score"].keys():
            continue
        scores = {kind: stored[kind] for kind in before["by_score"]}  # a scores file keeps no order
        if run.entry.parts and not is_current(run, scores):
            continue
        logger.info("%s: found, not computed again", file)
        # Scores are costly; figures are measured again, in case they are measured otherwise by now.
        after = before | figures(scores, run.sets, chosen=before["score"])
        if file != path or before["identity"] != identity:
            after |= {
                "data": run.config.data,
                "name": run.entry.name,
                "overrides": run.entry.overrides,
                "identity": identity,
                "command": command_line(),  # the earlier one may ask for something else by now
            }
            if file != path:
                after[SCORES_HASH] = save_scores(scores_path(path), scores)
        if after != before:
            write_json(path, after)
        return after
    return None


def settings_of(identity: Mapping[str, Any]) -> dict[str, Any]:
    """All that scores depend on: everything but what a variant calls it."""
    return {name: value for name, value in identity.items() if name != "overrides"}


def figures(scores: Mapping[str, Split], sets: Mapping[str, Any], *, chosen: str | None) -> dict[str, Any]:
    """The kind of score that was chosen, on validation unless it is given, and the metrics of all kinds."""
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
