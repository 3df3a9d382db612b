"""Files of pairs for match --output_dir, a stand-in for the matcher that scores them, and the rows of the results."""

from __future__ import annotations

import csv

import pyarrow.parquet as pq

from flipkd.errors import NumbersError


class LengthScorer:
    """Stand-in for a loaded matcher: the score follows from the texts; it raises for a text with POISON."""

    cascade, memory = False, None

    def __init__(self, config) -> None:
        self.failing = "POISON"

    def rows(self, pairs):
        if any(self.failing in left for left, _ in pairs):
            raise NumbersError("the score of a pair is nan")
        return [
            {"score": len(left) / 7, "probability": 0.5, "decision": "match" if len(left) > len(right) else "no match"}
            for left, right in pairs
        ]

    def log_summary(self):
        """Has nothing to say."""


def write_rows(path, rows):
    """Write a csv of (text1, text2, id); return its path."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("text1", "text2", "id"), *rows])
    return str(path)


def inputs(folder, sizes=(7, 5)):
    """Write a.csv and b.csv with so many rows; return their paths."""
    return [
        write_rows(
            folder / f"{name}.csv", [(f"{name} text {k}" + "!" * (k % 3), "a card text", k) for k in range(size)]
        )
        for name, size in zip("ab", sizes, strict=True)
    ]


def results(folder):
    """Rows of all parts of a result, in order."""
    return [row for path in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]
