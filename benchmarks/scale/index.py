"""Measure an index of LanceDB: time of a search, exact and approximate, recall of the approximate one, time of an upsert.

    python benchmarks/scale/index.py vectors.npy --entries 100000

`vectors.npy` has unit vectors [n, d] of real texts, such as `encode` of sentence-transformers returns. The first 500 are
queries. When there are fewer vectors than entries, the rest are noise around the others, at a cosine of about 0.9.
Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flipkd import Index, LanceIndex
from flipkd.index import lance
from flipkd.index.writing import upsert

QUERIES, TOP_K, NOISE = 500, 20, 0.5


def entries_around(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return `count` unit vectors: the given ones, then noise around them."""
    rng = np.random.default_rng(0)
    found = np.resize(vectors, (count, vectors.shape[1])).astype(np.float32)
    noise = rng.normal(size=(max(0, count - len(vectors)), vectors.shape[1])) / np.sqrt(vectors.shape[1])
    found[len(vectors) :] += NOISE * noise.astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def timed(search: Callable[[np.ndarray], Any], queries: np.ndarray) -> tuple[list[Any], dict[str, float]]:
    """Return the results of a search, and the milliseconds of each query: median on the clock, mean of the processor."""
    search(queries[0])
    seconds, found, begin = [], [], time.process_time()
    for query in queries:
        start = time.perf_counter()
        found.append(search(query))
        seconds.append(time.perf_counter() - start)
    processor = (time.process_time() - begin) / len(queries)
    return found, {"median": round(1000 * float(np.median(seconds)), 2), "processor": round(1000 * processor, 2)}


def measure(vectors: np.ndarray, *, count: int, queries: int) -> dict[str, Any]:
    """Build both kinds of index and compare them."""
    asked, numbers = vectors[:queries], entries_around(vectors[QUERIES:], count)
    entries = [{"id": str(row), "text": f"text {row}"} for row in range(count)]
    exact = Index(entries, numbers, encoder={})
    best, in_memory = timed(lambda query: exact.hits(query, top_k=TOP_K), asked)
    result: dict[str, Any] = {"entries": count, "width": numbers.shape[1], "milliseconds": {"memory": in_memory}}
    for name, limit in (("scan", count + 1), ("vector index", 1)):
        lance.APPROXIMATE_FROM = limit
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            index = LanceIndex.create(Path(folder) / "index", entries, numbers, encoder={}, columns={})
            result[f"seconds to build, {name}"] = round(time.perf_counter() - start, 1)
            some = asked if name == "vector index" else asked[:20]
            found, result["milliseconds"][name] = timed(
                lambda query, index=index: index.hits(query, top_k=TOP_K), some
            )
            shared = [
                len({hit.key["corpus_id"] for hit in a} & {int(hit.key["id"]) for hit in b})
                for a, b in zip(best, found, strict=False)
            ]
            result[f"recall@{TOP_K}, {name}"] = round(sum(shared) / (TOP_K * len(found)), 4)
            start = time.perf_counter()
            upsert(index, [{"id": "new", "text": "new"}], asked[:1])
            result[f"seconds of an upsert, {name}"] = round(time.perf_counter() - start, 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors")
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    given = parser.parse_args()
    vectors = np.load(given.vectors)
    sys.stdout.write(json.dumps(measure(vectors, count=given.entries, queries=given.queries)) + "\n")


if __name__ == "__main__":
    main()
