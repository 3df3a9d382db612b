"""Result of one run: computed or read from disk, and its metrics."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flipkd.commands.results import command_line
from flipkd.comparison.blends import is_current
from flipkd.comparison.measuring import peak_memory, reset_peak_memory
from flipkd.comparison.run import Run
from flipkd.comparison.scores import HELD_OUT, SCORES_HASH, Split, read_scores, result_path, save_scores, scores_path
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
    """Run the system, and write its scores and its result file."""
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
        **metrics_of(scores, run.sets, chosen=run.chosen_score),
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


def find_result(run: Run, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Find the result with these settings under any name: a variant may have become the default. None when missing."""
    path = _path(run)
    others = path.parent.glob(f"{run.config.data}-*-seed{run.seed}.json")
    for file in dict.fromkeys([path, *sorted(others)]):
        if not file.exists() or not scores_path(file).exists():
            continue
        before: dict[str, Any] = read_json(file)
        if scoring_settings(before.get("identity", {})) != scoring_settings(identity):
            continue
        stored = read_scores(scores_path(file), sha256=before.get(SCORES_HASH))  # older results have none
        if stored.keys() != before["by_score"].keys():
            continue
        scores = {kind: stored[kind] for kind in before["by_score"]}  # a safetensors file has no order
        if run.entry.parts and not is_current(run, scores):
            continue
        logger.info("%s: found, not computed again", file)
        # Only the scores are reused; metrics are cheap and their definition may have changed.
        after = before | metrics_of(scores, run.sets, chosen=before["score"])
        if file != path or before["identity"] != identity:
            after |= {
                "data": run.config.data,
                "name": run.entry.name,
                "overrides": run.entry.overrides,
                "identity": identity,
                "command": command_line(),  # the stored command may have other settings
            }
            if file != path:
                after[SCORES_HASH] = save_scores(scores_path(path), scores)
        if after != before:
            write_json(path, after)
        return after
    return None


def scoring_settings(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what affects the scores: an identity without the names of a variant's changes and objectives of weight 0."""
    found = {name: value for name, value in identity.items() if name != "overrides"}
    if "parts" in found:
        found["parts"] = [scoring_settings(part) for part in found["parts"]]
    if objectives := found.get("train", {}).get("objectives"):
        used = {name: setting for name, setting in objectives.items() if setting not in (0, {"weight": 0})}
        found["train"] = {**found["train"], "objectives": used}
    return found


def metrics_of(scores: Mapping[str, Split], sets: Mapping[str, Any], *, chosen: str | None) -> dict[str, Any]:
    """Return the chosen kind of score and the metrics of all kinds; validation chooses when `chosen` is None."""
    by_score = {name: _measured(split, sets) for name, split in scores.items()}
    given = [name for name in by_score if not name.endswith(SYMMETRIC)]
    chosen = chosen or max(given, key=lambda name: by_score[name]["validation"][CHOSEN_BY])
    return {"score": chosen, "metrics": by_score[chosen], "by_score": by_score}


def _measured(split: Split, sets: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Measure validation and test with the threshold and the calibration fitted on validation."""
    labels = {name: labels_of(sets[name]) for name in HELD_OUT}
    threshold = best_threshold(split.validation, labels["validation"]).value
    calibration = fit_calibration(split.validation, labels["validation"], method="sigmoid")
    scores = {name: getattr(split, name) for name in HELD_OUT}
    return {
        name: measure(values, labels[name], threshold=threshold, probabilities=calibration.apply(values))
        for name, values in scores.items()
    }
