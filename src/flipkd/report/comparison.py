"""What a comparison is, and its numbers: one row per name over its seeds, and paired differences against a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import ConfigError, DataError, nearest, shorten
from flipkd.evaluate.compare import holm, mean_interval, paired_bootstrap

METRICS = ("f1", "average_precision", "accuracy", "roc_auc")
# The systems that the others are held against.
REFERENCES = ("plain", "no_teacher", "teacher_finetuned", "plain+teacher_finetuned")
RESAMPLES = {"f1": 10_000, "average_precision": 2_000}  # the second counts row by row: many times slower
SPEEDS = ("train_pairs_per_second", "score_pairs_per_second")


@dataclass(frozen=True, kw_only=True)
class UnitScores:
    """One trained and evaluated (name, seed).

    name: "plain", "flipped", or that of a variant; system: what it is a variant of, a row of the systems' table;
    result: the unit's result file as read; validation, test: name of a score -> its values [V], [N].
    """

    name: str
    system: str
    seed: int
    result: Mapping[str, Any]
    validation: Mapping[str, NDArray[np.float64]]
    test: Mapping[str, NDArray[np.float64]]

    @property
    def score(self) -> str:
        """The name of the score that validation chose."""
        return str(self.result["score"])

    @property
    def threshold(self) -> float:
        """Where the chosen score becomes a match, fitted on validation."""
        return float(self.result["by_score"][self.score]["validation"]["threshold"])

    @property
    def matches(self) -> NDArray[np.bool_]:
        """The decision on each test pair [N]."""
        return self.test[self.score] >= self.threshold


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All units on the same pairs: text1, text2, label of the test pairs [N], labels of validation [V].

    counts: split -> {"pairs", "positives"}; command: what makes the comparison again. Raises DataError for units that
    do not fit: none at all, a (name, seed) twice, scores of another length than the labels.
    """

    data: str
    units: Sequence[UnitScores]
    text1: Sequence[str]
    text2: Sequence[str]
    label: NDArray[np.int64]
    validation_label: NDArray[np.int64]
    counts: Mapping[str, Mapping[str, int]]
    command: str

    def __post_init__(self) -> None:
        if not self.units:
            raise DataError("a comparison needs at least one unit")
        if not len(self.text1) == len(self.text2) == len(self.label):
            raise DataError(f"{len(self.text1)} and {len(self.text2)} texts for {len(self.label)} test labels")
        seen = set()
        for unit in self.units:
            where = f"unit {shorten(unit.name)}, seed {unit.seed}"
            if (unit.name, unit.seed) in seen:
                raise DataError(f"{where}: stands twice; one result per name and seed")
            seen.add((unit.name, unit.seed))
            for split, n in (("validation", len(self.validation_label)), ("test", len(self.label))):
                values = getattr(unit, split).get(unit.score)
                if np.shape(values) != (n,):
                    raise DataError(
                        f"{where}: {split} score {unit.score!r} has the shape {np.shape(values)}, not {(n,)}"
                    )

    @property
    def names(self) -> list[str]:
        """Each name once, in order of first appearance."""
        return list(dict.fromkeys(unit.name for unit in self.units))

    @cached_property
    def differences(self) -> dict[str, list[dict[str, Any]]]:
        """Reference -> its rows of `paired_differences`; its thousands of resamples are drawn once for all readers."""
        return {name: paired_differences(self, against=name) for name in references(self)}

    def units_of(self, name: str) -> list[UnitScores]:
        """The units of one name, one per seed, in the order given."""
        return [unit for unit in self.units if unit.name == name]

    def main_name(self, system: str) -> str | None:
        """The name that stands for a system: its own if it is there, else its first variant, else None."""
        names = [unit.name for unit in self.units if unit.system == system]
        return system if system in names else next(iter(names), None)

    def shared(self, names: Sequence[str]) -> list[tuple[UnitScores, ...]]:
        """For each seed that all these names have, their units in the order of `names`."""
        by_seed = [{unit.seed: unit for unit in self.units_of(name)} for name in names]
        return [
            tuple(units[seed] for units in by_seed)
            for seed in (by_seed[0] if by_seed else ())
            if all(seed in units for units in by_seed)
        ]


def summary_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One row per name over its seeds, for JSON, terminal and page alike.

    Each has name, system, seeds (how many), scores (those chosen), per metric (f1, average_precision, accuracy,
    roc_auc) a dict with mean and, from two seeds on, sd, low and high (Student's 95 % interval), seconds (mean),
    peak_memory_bytes (largest), train_pairs_per_second and score_pairs_per_second (mean; None where not measured).
    """
    return [_row(comparison.units_of(name)) for name in comparison.names]


def score_rows(comparison: Comparison, name: str) -> list[dict[str, Any]]:
    """The metrics of each kind of score that a name has in all its seeds, and in how many seeds it was chosen."""
    units = comparison.units_of(name)
    kinds = [kind for kind in units[0].result["by_score"] if all(kind in unit.result["by_score"] for unit in units)]
    return [
        {"score": kind, "chosen": sum(unit.score == kind for unit in units), "seeds": len(units)}
        | {metric: _spread([unit.result["by_score"][kind]["test"][metric] for unit in units]) for metric in METRICS}
        for kind in kinds
    ]


def _row(units: Sequence[UnitScores]) -> dict[str, Any]:
    results = [unit.result for unit in units]
    tests = [unit.result["by_score"][unit.score]["test"] for unit in units]
    row: dict[str, Any] = {"name": units[0].name, "system": units[0].system, "seeds": len(units)}
    row["scores"] = sorted({unit.score for unit in units})
    row |= {metric: _spread([test[metric] for test in tests]) for metric in METRICS}
    row["seconds"] = _mean([result.get("seconds") for result in results])
    peaks = [result["peak_memory_bytes"] for result in results if result.get("peak_memory_bytes") is not None]
    row["peak_memory_bytes"] = max(peaks, default=None)
    return row | {speed: _mean([(result.get("cost") or {}).get(speed) for result in results]) for speed in SPEEDS}


def _spread(values: Sequence[float]) -> dict[str, float]:
    if len(values) < 2:
        return {"mean": float(values[0])}
    found = mean_interval(values)
    return {key: found[key] for key in ("mean", "sd", "low", "high")}


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of what was measured."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def references(comparison: Comparison) -> list[str]:
    """The names that the others are held against, where they are there."""
    names = [comparison.main_name(system) for system in REFERENCES]
    return [name for name in names if name is not None]


def paired_differences(comparison: Comparison, *, against: str) -> list[dict[str, Any]]:
    """Each other name minus the name `against`, of metrics averaged over the seeds both have.

    Each row has name, against, seeds (those shared), ahead (in how many of them its F1 is the higher), and for f1 and
    average_precision what `flipkd.evaluate.paired_bootstrap` returns: difference, low, high, p_value and more; p_adjusted
    is p after Holm's correction for all rows here. All seeds and both systems see the same resampled test pairs. Names
    without a shared seed are left out. Raises ConfigError when no unit is called `against`.
    """
    if against not in comparison.names:
        raise ConfigError(f"no unit is called {shorten(against)}; {nearest(against, comparison.names)}")
    rows = []
    for name in comparison.names:
        units = comparison.shared([name, against])
        if name == against or not units:
            continue
        row: dict[str, Any] = {"name": name, "against": against, "seeds": [unit.seed for unit, _ in units]}
        f1 = [[unit.result["by_score"][unit.score]["test"]["f1"] for unit in pair] for pair in units]
        row["ahead"] = sum(a > b for a, b in f1)
        rows.append(row | {metric: _difference(comparison, units, metric) for metric in RESAMPLES})
    adjust(rows)
    return rows


def adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Give each difference of these rows its `p_adjusted`: Holm's correction over the rows, for each metric apart."""
    for metric in RESAMPLES:
        found = [row[metric] for row in rows]
        for difference, value in zip(found, holm([one["p_value"] for one in found]), strict=True):
            difference["p_adjusted"] = float(value)


def _difference(comparison: Comparison, units: Sequence[tuple[UnitScores, ...]], metric: str) -> dict[str, float]:
    a, b = (np.stack([unit.test[unit.score] for unit in side]) for side in zip(*units, strict=True))
    threshold_a, threshold_b = ([unit.threshold for unit in side] for side in zip(*units, strict=True))
    return paired_bootstrap(
        a,
        b,
        comparison.label,
        threshold_a=threshold_a,
        threshold_b=threshold_b,
        metric=metric,
        resamples=RESAMPLES[metric],
    )
