"""Comparisons of random scores: several systems and seeds on a few labelled pairs, with results as `compare` writes them."""

from __future__ import annotations

import numpy as np
import pytest

from flipkd.comparison.systems import system_named
from flipkd.evaluate import best_threshold, fit_calibration, measure
from flipkd.report.comparison import Comparison, RunScores

STRENGTH = {
    "tfidf": 0.7,
    "teacher": 1.2,
    "teacher_finetuned": 2.0,
    "cross_encoder": 2.2,
    "untrained": 0.1,
    "plain": 1.5,
    "flipped": 2.6,
    "always_match": 0.0,
    "plain+teacher_finetuned": 2.3,
}
ALL = tuple(STRENGTH)[:-2]


def noise(strength, labels, generator):
    return strength * labels + (generator.normal(size=len(labels)) if strength else 1.0)


def make_run(name, system, seed, validation, test, *, labels, result=None):
    """A run from its scores (name -> values), measured as `compare` measures; the first score is the chosen one."""
    by_score = {}
    for kind in test:
        threshold = best_threshold(validation[kind], labels[0]).value
        calibration = fit_calibration(validation[kind], labels[0], method="sigmoid")
        by_score[kind] = {
            split: measure(scores, label, threshold=threshold, probabilities=calibration.apply(scores))
            for split, scores, label in zip(
                ("validation", "test"), (validation[kind], test[kind]), labels, strict=True
            )
        }
    chosen = next(iter(test))
    made = {
        "score": chosen,
        "metrics": by_score[chosen],
        "by_score": by_score,
        "overrides": {},
        "seconds": 90.0 + seed,
    }
    made |= {"peak_memory_bytes": 2**30 * (1 + seed), "versions": {"torch": "2.13"}, "command": "flipkd compare"}
    return RunScores(
        name=name,
        system=system_named(system),
        seed=seed,
        result=made | (result or {}),
        validation=validation,
        test=test,
    )


@pytest.fixture
def make_comparison():
    """`make_comparison(systems, seeds=..., n=..., **fields)`; a system is a name of STRENGTH or (name, system)."""

    def make(systems=ALL, *, seeds=(0, 1), n=60, **fields):
        label = np.arange(n) % 2
        texts = [f"question {row} " + "x" * (row % 17) for row in range(n)]
        runs = []
        for seed in seeds:
            for place, (name, system) in enumerate((s, s) if isinstance(s, str) else s for s in systems):
                generator = np.random.default_rng([seed, place])
                kinds = {"flipped": ["cosine", "answer", "combined"]}.get(system, ["score"])
                validation, test = (
                    {kind: noise(STRENGTH[system], label, generator) for kind in kinds} for _ in range(2)
                )
                runs.append(make_run(name, system, seed, validation, test, labels=(label, label)))
        counts = {split: {"pairs": n, "positives": n // 2} for split in ("train", "validation", "test")}
        given = {"data": "faq", "runs": runs, "text1": texts, "text2": texts[::-1], "label": label}
        given |= {"validation_label": label, "counts": counts, "command": "flipkd compare --set 'seeds=[0, 1]'"}
        return Comparison(**(given | fields))

    return make
