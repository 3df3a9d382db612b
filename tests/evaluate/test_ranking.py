"""Metrics of rankings: closed forms, an oracle in plain loops, and the library's order of the arguments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flipkd.evaluate.compare import paired_means
from flipkd.evaluate.ranking import RANKING_METRICS, query_metrics


def oracle(ranked, judged):
    relevant = {name for name, grade in judged.items() if grade > 0}
    first = next((rank for rank, name in enumerate(ranked[:10], 1) if name in relevant), None)
    precisions = [
        sum(name in relevant for name in ranked[:rank]) / rank
        for rank, found in enumerate(ranked[:100], 1)
        if found in relevant
    ]

    def gain(grades):
        return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades[:10], 1))

    ideal = gain(sorted(judged.values(), reverse=True))
    return {
        "mrr@10": 1 / first if first else 0.0,
        "ndcg@10": gain([judged.get(name, 0) for name in ranked]) / ideal,
        "recall@10": len(relevant & set(ranked[:10])) / len(relevant),
        "recall@100": len(relevant & set(ranked[:100])) / len(relevant),
        "map@100": sum(precisions) / min(100, len(relevant)),
    }


def test_metrics_equal_plain_loops_on_random_rankings():
    generator = np.random.default_rng(0)
    for _ in range(20):
        documents = [f"d{number}" for number in generator.permutation(150)]
        ranked = documents[: generator.integers(3, 150)]
        judged = {name: int(generator.integers(0, 3)) for name in generator.choice(documents, 20, replace=False)}
        judged[documents[0]] = 2
        assert query_metrics(ranked, judged) == pytest.approx(oracle(ranked, judged))


def test_a_perfect_ranking_has_one_and_a_ranking_without_a_hit_zero():
    assert query_metrics(["b", "a", "c"], {"a": 1, "b": 2}) == dict.fromkeys(RANKING_METRICS, pytest.approx(1.0))
    # A short list: the relevant document that it does not have must not fill its empty ranks.
    assert query_metrics(["c"], {"a": 1}) == dict.fromkeys(RANKING_METRICS, 0.0)
    assert query_metrics([], {"a": 1}) == dict.fromkeys(RANKING_METRICS, 0.0)


def test_query_metrics_use_grades_for_the_gain_only():
    better, worse = query_metrics(["b", "a"], {"a": 1, "b": 2}), query_metrics(["a", "b"], {"a": 1, "b": 2})
    assert better["ndcg@10"] > worse["ndcg@10"]
    assert {name: better[name] for name in better if name != "ndcg@10"} == {
        name: worse[name] for name in worse if name != "ndcg@10"
    }


def test_paired_means_reads_the_pairs():
    generator = np.random.default_rng(1)
    base = generator.normal(size=200)
    better = paired_means(base + 0.1 + generator.normal(scale=0.01, size=200), base)
    assert better["low"] < 0.1 < better["high"]
    assert better["high"] - better["low"] < 0.01
    assert better["p_value"] < 0.01
    swapped = paired_means(base, base + 0.1)
    assert swapped["difference"] == pytest.approx(-0.1)
