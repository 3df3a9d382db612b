"""Clusters of the records of one file or two: their numbers, their files, and the list of weak matches."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.commands.row_file import new_row_file, types_of
from flipkd.commands.scored_pairs import ScoredPairs
from flipkd.data.readers import Source
from flipkd.data.records import Records
from flipkd.data.sources import open_source, plain, readable
from flipkd.entities.clusters import clusters, weak_bridges
from flipkd.entities.groups import Rows, first_rows, numbered
from flipkd.errors import DataError
from flipkd.text import normal_text

logger = logging.getLogger(__name__)
CLUSTER = "cluster"  # the column that is added
WEAK_COLUMNS = {
    CLUSTER: int,
    "records": int,
    "row1": int,
    "row2": int,
    "text1": str,
    "text2": str,
    "probability": float,
}
SHOWN = 5  # weak matches in the warning
LARGE = 20  # records of a cluster that may be more than half of all without a warning


@dataclass(frozen=True)
class Clusters:
    """The cluster of each record, the first file's records first: the number of its first record, from 1."""

    numbers: Rows
    files: NDArray[np.int64]
    """0 for a record of the first file, 1 for one of the second."""
    weak: Rows
    """Positions, in the scored pairs, of the weak matches that alone hold a cluster together, largest cluster first."""

    def of_file(self, file: int) -> list[int]:
        """Return the clusters of the records of file 0 or 1."""
        numbers: list[int] = self.numbers[self.files == file].tolist()
        return numbers

    def summary(self) -> dict[str, Any]:
        """Count entities, clusters of two or more records, records in them, and the largest; of two files also the linked."""
        found, sizes = np.unique(self.numbers, return_counts=True)
        largest = int(np.argmax(sizes))
        linked = np.intersect1d(self.of_file(0), self.of_file(1))
        return {
            "entities": len(found),
            "clusters": int((sizes > 1).sum()),
            "clustered": int(sizes[sizes > 1].sum()),
            **({"linked": len(linked)} if self.files.any() else {}),
            "largest": {"cluster": int(found[largest]), "records": int(sizes[largest])},
            "weak": len(self.weak),
        }


def cluster_records(sides: Sequence[Records], scored: ScoredPairs, *, weak_below: float) -> Clusters:
    """Join the records of each matching pair, and records with the same text, into clusters.

    A match is weak when its probability is below `weak_below`.
    """
    files = np.repeat(np.arange(len(sides)), [len(side) for side in sides])
    copies, originals = _copies([text for side in sides for text in side.texts])
    left = np.concatenate([scored.left[scored.match], copies])
    right = np.concatenate([scored.right[scored.match], originals])
    numbers = clusters(len(files), left, right)
    matches = np.flatnonzero(scored.match)
    is_weak = np.concatenate([scored.probability[matches] < weak_below, np.zeros(len(copies), bool)])
    weak = matches[weak_bridges(len(files), left, right, is_weak)]
    sizes = np.bincount(numbers, minlength=len(files))
    if sizes.max() > max(LARGE, len(files) // 2):
        logger.warning(
            "%d of %d records are one cluster: a few wrong matches join everything; raise --threshold, or calibrate the matcher "
            "on pairs like these",
            sizes.max(),
            len(files),
        )
    weak = weak[np.lexsort((weak, -sizes[numbers[scored.left[weak]]]))]
    return Clusters(numbers + 1, files, weak)


def _copies(texts: Sequence[str]) -> tuple[Rows, Rows]:
    """Return the records that repeat the text of an earlier record, and these earlier records."""
    [numbers], _ = numbered([normal_text(text) for text in texts])
    first = first_rows(numbers)
    copies = np.flatnonzero(first != np.arange(len(texts)))
    return copies, first[copies]


def write_clusters(file: str, output: Path, numbers: Sequence[int], *, guard: bool) -> None:
    """Write the rows of a file as they are, with the column CLUSTER first. Raises DataError if the file has other rows by now."""
    with readable(file):
        source = open_source(file)
        types = types_of(_blocks(source)) if output.suffix == ".parquet" else dict.fromkeys(source.columns, str)
        done = 0
        with new_row_file(output, {CLUSTER: int, **types}, guard=guard) as write:
            for block in _blocks(source):
                rows = [dict(zip(block, row, strict=True)) for row in zip(*block.values(), strict=True)]
                write([{CLUSTER: number} | row for number, row in zip(numbers[done:], rows, strict=False)])
                done += len(rows)
            if done != len(numbers):
                raise DataError(f"{file}: the file changed while it was read; run the command again")


def _blocks(source: Source) -> Iterator[dict[str, list[Any]]]:
    """Yield the values of all columns of a file as JSON values, block by block."""
    for batch in source.batches([], source.columns):
        yield {name: [*map(plain, values)] for name, values in zip(source.columns, batch.values, strict=True)}


def write_weak_matches(
    output: Path, sides: Sequence[Records], scored: ScoredPairs, found: Clusters, *, guard: bool
) -> None:
    """Write the weak matches that alone hold a cluster together, and log a warning with the first of them."""
    texts, first = [text for side in sides for text in side.texts], len(sides[0])
    sizes = np.bincount(found.numbers)
    rows = []
    for position in found.weak.tolist():
        left, right = int(scored.left[position]), int(scored.right[position])
        cluster = int(found.numbers[left])
        rows.append(
            {
                CLUSTER: cluster,
                "records": int(sizes[cluster]),
                "row1": left + 1,
                "row2": right + 1 - (first if found.files[right] else 0),
                "text1": texts[left],
                "text2": texts[right],
                "probability": float(scored.probability[position]),
            }
        )
    with new_row_file(output, WEAK_COLUMNS, guard=guard) as write:
        write(rows)
    if rows:
        shown = "; ".join(
            f"cluster {row[CLUSTER]} ({row['records']} records) by rows {row['row1']} and {row['row2']}, "
            f"probability {row['probability']:.2f}"
            for row in rows[:SHOWN]
        )
        more = "; ..." if len(rows) > SHOWN else ""
        logger.warning("%d weak matches alone hold a cluster together: %s%s; see %s", len(rows), shown, more, output)
