"""Data of a comparison: its systems, the scores of its runs, and statistics of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import ConfigError, DataError, nearest, shorten
from flipkd.evaluate.compare import holm, mean_interval, paired_bootstrap
from flipkd.report.system import System

METRICS = ("f1", "average_precision", "accuracy", "roc_auc")
RESAMPLES = {"f1": 10_000, "average_precision": 2_000}  # the second works row by row: many times slower
SPEEDS = ("train_pairs_per_second", "score_pairs_per_second")


@dataclass(frozen=True, kw_only=True)
class RunScores:
    """Scores of one run (name, seed).

    name: a system such as "plain", or a variant; system: the system of the variant; result: content of the run's result
    file; validation, test: kind of score -> its values [V], [N]; probability: P(match) of the test pairs [N], by default a fit
    on validation; losses: rows of `flipkd.report.losses.read_losses`.
    """

    name: str
    system: System
    seed: int
    result: Mapping[str, Any]
    validation: Mapping[str, NDArray[np.float64]]
    test: Mapping[str, NDArray[np.float64]]
    probability: NDArray[np.float64] | None = None
    losses: Sequence[Mapping[str, Any]] = ()

    @property
    def score(self) -> str:
        """Return the kind of score chosen on validation."""
        return str(self.result["score"])

    @property
    def threshold(self) -> float:
        """Return the match threshold of the chosen score, fitted on validation."""
        return float(self.result["by_score"][self.score]["validation"]["threshold"])

    @property
    def review_threshold(self) -> float | None:
        """Return the lower bound of the review band; None without one."""
        value = self.result["by_score"][self.score]["validation"].get("review_threshold")
        return None if value is None else float(value)

    @property
    def matches(self) -> NDArray[np.bool_]:
        """Return the decision on each test pair [N]."""
        return self.test[self.score] >= self.threshold


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs of several systems on the same pairs: text1, text2, label of the test pairs [N], labels of validation [V].

    counts: split -> {"pairs", "positives"}; command: the command line that repeats the comparison; planned: number of runs
    when complete. Raises DataError for no run, a duplicate (name, seed), or scores of another length than the labels.
    """

    data: str
    runs: Sequence[RunScores]
    text1: Sequence[str]
    text2: Sequence[str]
    label: NDArray[np.int64]
    validation_label: NDArray[np.int64]
    counts: Mapping[str, Mapping[str, int]]
    command: str
    planned: int = 0

    def __post_init__(self) -> None:
        if not self.runs:
            raise DataError("a comparison needs at least one run")
        if not len(self.text1) == len(self.text2) == len(self.label):
            raise DataError(f"{len(self.text1)} and {len(self.text2)} texts for {len(self.label)} test labels")
        seen = set()
        for run in self.runs:
            where = f"run {shorten(run.name)}, seed {run.seed}"
            if (run.name, run.seed) in seen:
                raise DataError(f"{where}: duplicate; give one result per name and seed")
            seen.add((run.name, run.seed))
            for split, n in (("validation", len(self.validation_label)), ("test", len(self.label))):
                values = getattr(run, split).get(run.score)
                if np.shape(values) != (n,):
                    raise DataError(
                        f"{where}: {split} score {run.score!r} has the shape {np.shape(values)}, not {(n,)}"
                    )

    @property
    def names(self) -> list[str]:
        """Return the unique names in order of first appearance."""
        return list(dict.fromkeys(run.name for run in self.runs))

    @cached_property
    def differences(self) -> dict[str, list[dict[str, Any]]]:
        """Return reference -> rows of `paired_differences`; cached, because it draws thousands of resamples."""
        return {name: paired_differences(self, against=name) for name in references(self)}

    def runs_of(self, name: str) -> list[RunScores]:
        """Return the runs of one name, one per seed, in the given order."""
        return [run for run in self.runs if run.name == name]

    def main_name(self, system: str) -> str | None:
        """Return the name that represents a system: its own, else its first variant, else None."""
        names = [run.name for run in self.runs if run.system.name == system]
        return system if system in names else next(iter(names), None)

    def shared(self, names: Sequence[str]) -> list[tuple[RunScores, ...]]:
        """Return, for each seed that all these names share, their runs in the order of `names`."""
        by_seed = [{run.seed: run for run in self.runs_of(name)} for name in names]
        return [
            tuple(runs[seed] for runs in by_seed)
            for seed in (by_seed[0] if by_seed else ())
            if all(seed in runs for runs in by_seed)
        ]


def summary_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one row per name over its seeds, for JSON, terminal and report.

    Keys: name, system, seeds (count), scores (the chosen kinds), one per metric (f1, average_precision, accuracy, roc_auc)
    with the values of `spread`, seconds (mean), peak_memory_bytes (maximum), train_pairs_per_second and
    score_pairs_per_second (mean; None when not measured).
    """
    return [_row(comparison.runs_of(name)) for name in comparison.names]


def score_rows(comparison: Comparison, name: str) -> list[dict[str, Any]]:
    """Return the metrics of each kind of score that all seeds of a name have, and in how many seeds it was chosen."""
    runs = comparison.runs_of(name)
    kinds = [kind for kind in runs[0].result["by_score"] if all(kind in run.result["by_score"] for run in runs)]
    return [
        {"score": kind, "chosen": sum(run.score == kind for run in runs), "seeds": len(runs)}
        | {metric: spread([run.result["by_score"][kind]["test"][metric] for run in runs]) for metric in METRICS}
        for kind in kinds
    ]


def _row(runs: Sequence[RunScores]) -> dict[str, Any]:
    results = [run.result for run in runs]
    tests = [run.result["by_score"][run.score]["test"] for run in runs]
    row: dict[str, Any] = {"name": runs[0].name, "system": runs[0].system.name, "seeds": len(runs)}
    row["scores"] = sorted({run.score for run in runs})
    row |= {metric: spread([test[metric] for test in tests]) for metric in METRICS}
    row["seconds"] = _mean([result.get("seconds") for result in results])
    peaks = [result["peak_memory_bytes"] for result in results if result.get("peak_memory_bytes") is not None]
    row["peak_memory_bytes"] = max(peaks, default=None)
    return row | {speed: _mean([(result.get("cost") or {}).get(speed) for result in results]) for speed in SPEEDS}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the mean of shares; for two or more also sd, half of Student's 95 % interval, and its ends clipped to [0, 1]."""
    if len(values) < 2:
        return {"mean": float(values[0])}
    found = mean_interval(values)
    half = (found["high"] - found["low"]) / 2
    return {"mean": found["mean"], "sd": found["sd"], "half": half} | {
        "low": max(found["low"], 0.0),
        "high": min(found["high"], 1.0),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are not None."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def references(comparison: Comparison) -> list[str]:
    """Return the names in this comparison that other names are compared with."""
    systems = dict.fromkeys(system for run in comparison.runs for system in run.system.compared_with)
    names = [comparison.main_name(system) for system in systems]
    return [name for name in names if name is not None]


def paired_differences(comparison: Comparison, *, against: str) -> list[dict[str, Any]]:
    """Return the difference of each other name to the name `against`, of metrics averaged over their shared seeds.

    Keys of a row: name, against, seeds (the shared ones), ahead (number of seeds with a higher F1), and for f1 and
    average_precision the result of `paired_bootstrap` (difference, low, high, p_value and more) with p_adjusted, the
    p_value after Holm's correction over all these rows. All seeds and both systems use the same resampled test pairs.
    Names without a shared seed are skipped. Raises ConfigError when no run has the name `against`.
    """
    if against not in comparison.names:
        raise ConfigError(f"no run is called {shorten(against)}; {nearest(against, comparison.names)}")
    rows = []
    for name in comparison.names:
        runs = comparison.shared([name, against])
        if name == against or not runs:
            continue
        row: dict[str, Any] = {"name": name, "against": against, "seeds": [run.seed for run, _ in runs]}
        f1 = [[run.result["by_score"][run.score]["test"]["f1"] for run in pair] for pair in runs]
        row["ahead"] = sum(a > b for a, b in f1)
        rows.append(row | {metric: _difference(comparison, runs, metric) for metric in RESAMPLES})
    adjust(rows)
    return rows


def adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Add `p_adjusted` to each difference: Holm's correction over the rows, separately for each metric."""
    for metric in RESAMPLES:
        found = [row[metric] for row in rows]
        for difference, value in zip(found, holm([one["p_value"] for one in found]), strict=True):
            difference["p_adjusted"] = float(value)


def _difference(comparison: Comparison, runs: Sequence[tuple[RunScores, ...]], metric: str) -> dict[str, float]:
    a, b = (np.stack([run.test[run.score] for run in side]) for side in zip(*runs, strict=True))
    threshold_a, threshold_b = ([run.threshold for run in side] for side in zip(*runs, strict=True))
    return paired_bootstrap(
        a,
        b,
        comparison.label,
        threshold_a=threshold_a,
        threshold_b=threshold_b,
        metric=metric,
        resamples=RESAMPLES[metric],
    )
