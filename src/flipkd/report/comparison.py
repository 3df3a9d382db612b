"""The values of a comparison: its systems, the scores of its runs, and the figures made of them."""

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
RESAMPLES = {"f1": 10_000, "average_precision": 2_000}  # the second counts row by row: many times slower
SPEEDS = ("train_pairs_per_second", "score_pairs_per_second")


@dataclass(frozen=True, kw_only=True)
class RunScores:
    """The scores of one run (name, seed).

    name: "plain", "flipped", or that of a variant; system: what it is a variant of; result: the run's result file as read;
    validation, test: name of a score -> its values [V], [N]; probability: P(match) of the test pairs [N], by default a fit on
    validation; losses: as `flipkd.report.losses.read_losses` gives them.
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
        """The name of the score that validation chose."""
        return str(self.result["score"])

    @property
    def threshold(self) -> float:
        """Where the chosen score becomes a match, fitted on validation."""
        return float(self.result["by_score"][self.score]["validation"]["threshold"])

    @property
    def review_threshold(self) -> float | None:
        """The score from which a pair that is no match goes to review; None where none does."""
        value = self.result["by_score"][self.score]["validation"].get("review_threshold")
        return None if value is None else float(value)

    @property
    def matches(self) -> NDArray[np.bool_]:
        """The decision on each test pair [N]."""
        return self.test[self.score] >= self.threshold


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The runs of several systems on the same pairs: text1, text2, label of the test pairs [N], labels of validation [V].

    counts: split -> {"pairs", "positives"}; command: what makes the comparison again; planned:
    runs that there will be in the end. Raises DataError for runs that
    do not fit: none at all, a (name, seed) twice, scores of another length than the labels.
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
                raise DataError(f"{where}: given twice; one result per name and seed")
            seen.add((run.name, run.seed))
            for split, n in (("validation", len(self.validation_label)), ("test", len(self.label))):
                values = getattr(run, split).get(run.score)
                if np.shape(values) != (n,):
                    raise DataError(
                        f"{where}: {split} score {run.score!r} has the shape {np.shape(values)}, not {(n,)}"
                    )

    @property
    def names(self) -> list[str]:
        """Each name once, in order of first appearance."""
        return list(dict.fromkeys(run.name for run in self.runs))

    @cached_property
    def differences(self) -> dict[str, list[dict[str, Any]]]:
        """Reference -> its rows of `paired_differences`; its thousands of resamples are drawn once for all readers."""
        return {name: paired_differences(self, against=name) for name in references(self)}

    def runs_of(self, name: str) -> list[RunScores]:
        """The runs of one name, one per seed, in the order given."""
        return [run for run in self.runs if run.name == name]

    def main_name(self, system: str) -> str | None:
        """The name that represents a system: its own if it is there, else its first variant, else None."""
        names = [run.name for run in self.runs if run.system.name == system]
        return system if system in names else next(iter(names), None)

    def shared(self, names: Sequence[str]) -> list[tuple[RunScores, ...]]:
        """For each seed that all these names have, their runs in the order of `names`."""
        by_seed = [{run.seed: run for run in self.runs_of(name)} for name in names]
        return [
            tuple(runs[seed] for runs in by_seed)
            for seed in (by_seed[0] if by_seed else ())
            if all(seed in runs for runs in by_seed)
        ]


def summary_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One row per name over its seeds, for JSON, terminal and page alike.

    Each has name, system, seeds (how many), scores (those chosen), per metric (f1, average_precision, accuracy,
    roc_auc) as `spread` gives it, seconds (mean),
    peak_memory_bytes (largest), train_pairs_per_second and score_pairs_per_second (mean; None where not measured).
    """
    return [_row(comparison.runs_of(name)) for name in comparison.names]


def score_rows(comparison: Comparison, name: str) -> list[dict[str, Any]]:
    """The metrics of each kind of score that a name has in all its seeds, and in how many seeds it was chosen."""
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
    """The mean of shares and, from two on, sd, half the width of Student's 95 % interval, and its ends inside [0, 1]."""
    if len(values) < 2:
        return {"mean": float(values[0])}
    found = mean_interval(values)
    half = (found["high"] - found["low"]) / 2
    return {"mean": found["mean"], "sd": found["sd"], "half": half} | {
        "low": max(found["low"], 0.0),
        "high": min(found["high"], 1.0),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of what was measured."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def references(comparison: Comparison) -> list[str]:
    """The names that others are compared with, as far as they were run."""
    systems = dict.fromkeys(system for run in comparison.runs for system in run.system.compared_with)
    names = [comparison.main_name(system) for system in systems]
    return [name for name in names if name is not None]


def paired_differences(comparison: Comparison, *, against: str) -> list[dict[str, Any]]:
    """Each other name minus the name `against`, of metrics averaged over the seeds both have.

    Each row has name, against, seeds (those shared), ahead (in how many of them its F1 is the higher), and for f1 and
    average_precision what `flipkd.evaluate.paired_bootstrap` returns: difference, low, high, p_value and more; p_adjusted
    is p after Holm's correction for all rows here. All seeds and both systems see the same resampled test pairs. Names
    without a shared seed are left out. Raises ConfigError when no run is called `against`.
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
    """Give each difference of these rows its `p_adjusted`: Holm's correction over the rows, for each metric apart."""
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
