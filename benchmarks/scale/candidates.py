"""Time, memory and recall of the exact neighbour search of flipkd candidates, and write results.json.

    OMP_NUM_THREADS=1 python benchmarks/scale/candidates.py train.parquet validation.parquet --records 100000

The vectors are those of distinct texts of files of pairs, by the packaged all-MiniLM-L6-v2, repeated with noise until there
are `--records` of them. Recall is that of `--top_k` neighbours against a full product in float64 for a sample of the
left side. Memory is the largest resident size of the process while it searches, less that before.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.data.pairs import read_pairs
from flipkd.entities.neighbours import nearest_pairs
from flipkd.teachers.teacher import load_teacher

RESULTS = Path(__file__).with_name("results.json")
SAMPLE = 500  # left vectors whose neighbours are compared with a full product
Floats = NDArray[np.float32]


def distinct_texts(files: Sequence[str], limit: int) -> list[str]:
    """At most `limit` distinct texts of files of pairs, drawn at random."""
    texts = sorted({text for file in files for side in ("text1", "text2") for text in read_pairs(file)[side][:]})
    chosen = np.random.default_rng(0).permutation(len(texts))[:limit]
    return [texts[row] for row in chosen.tolist()]


def repeated(vectors: Floats, count: int, *, noise: float, seed: int) -> Floats:
    """`count` unit vectors [count, d]: the given ones in random order, again and again, each with noise of that length."""
    random = np.random.default_rng(seed)
    rows = random.permutation(np.arange(count) % len(vectors))
    drawn = vectors[rows]
    drawn += random.normal(scale=noise / np.sqrt(vectors.shape[1]), size=drawn.shape).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def recall(left: Floats, right: Floats, found: tuple[NDArray[np.int64], NDArray[np.int64]], *, top_k: int) -> float:
    """Share of the exact neighbours, of a sample of left vectors, that were found."""
    sample = np.random.default_rng(1).permutation(len(left))[:SAMPLE]
    wide, hits = right.astype(np.float64), 0
    for row in sample.tolist():
        exact = np.argpartition(-(wide @ left[row].astype(np.float64)), top_k - 1)[:top_k]
        hits += len(np.intersect1d(exact, found[1][found[0] == row]))
    return hits / (len(sample) * top_k)


def memory_mib(field: str) -> float:
    """A resident size of this process in MiB: VmRSS now, VmHWM the largest since the last reset (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) / 1024


def measure(left: Floats, right: Floats, *, top_k: int) -> dict[str, Any]:
    """Search, and return time, memory and recall."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
    before, start, used = memory_mib("VmRSS"), time.perf_counter(), time.process_time()
    found = nearest_pairs(left, right, top_k=top_k)
    seconds, cpu, largest = time.perf_counter() - start, time.process_time() - used, memory_mib("VmHWM")
    return {
        "left": len(left),
        "right": len(right),
        "width": left.shape[1],
        "top_k": top_k,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "vectors_mib": round((left.nbytes + right.nbytes) / 2**20),
        "search_mib": round(largest - before),
        f"recall@{top_k}": recall(left, right, found, top_k=top_k),
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
    }


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", help="files of pairs")
    parser.add_argument("--records", type=int, default=100_000, help="vectors of the right side")
    parser.add_argument("--left", type=int, help="vectors of the left side; default: as many as of the right side")
    parser.add_argument("--distinct", type=int, default=1000, help="most distinct texts that are embedded")
    parser.add_argument("--noise", type=float, default=0.3, help="length of the noise on a unit vector")
    parser.add_argument("--top_k", type=int, default=20)
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--output", default=str(RESULTS))
    given = parser.parse_args()
    vectors = load_teacher(given.encoder).embed(distinct_texts(given.files, given.distinct))
    counts = (given.left or given.records, given.records)
    sides = [repeated(vectors, count, noise=given.noise, seed=seed) for seed, count in enumerate(counts)]
    result = {"distinct": len(vectors), "noise": given.noise} | measure(*sides, top_k=given.top_k)
    Path(given.output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
