"""retrieval-set: labelled pairs become the files of a retrieval test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flipkd.command_config import RetrievalSetConfig
from flipkd.commands.pairs import labelled, normalised
from flipkd.commands.results import csv_text
from flipkd.data.labels import labels_of
from flipkd.data.pairs import read_pairs, sides_of
from flipkd.data.split import connected_rows
from flipkd.errors import DataError
from flipkd.files import new_folder, write_text


def retrieval_set(config: RetrievalSetConfig) -> dict[str, int]:
    """Write queries.csv, documents.csv and qrels.csv into `output_dir`; return the number of rows of each.

    Each text1 of a match is a query, and all different texts are documents; relevant for a query are the other texts of
    its cluster, that is, of its component in the graph of matches (Gillick et al., arXiv 1811.08008). Raises DataError
    without a match of two different texts, ResourceError when the folder exists.
    """
    pairs = labelled(normalised(read_pairs(config.pairs, columns=config.columns)), name=config.pairs)
    left, right = sides_of(pairs)
    number = {text: row for row, text in enumerate(dict.fromkeys([*left, *right]))}
    matches = [pair for pair, y in zip(zip(left, right, strict=True), labels_of(pairs), strict=True) if y == 1]
    matches = [(a, b) for a, b in matches if a != b]
    if not matches:
        raise DataError(f"{config.pairs}: has no match of two different texts, so no query has a relevant document")
    clusters = _clusters(matches)
    queries = list(dict.fromkeys(a for a, _ in matches))
    judged = [(number[query], number[text]) for query in queries for text in clusters[query] if text != query]
    files: dict[str, tuple[tuple[str, ...], list[Any]]] = {
        "queries": (("id", "text"), [(number[query], query) for query in queries]),
        "documents": (("id", "text"), [(row, text) for text, row in number.items()]),
        "qrels": (("query_id", "doc_id", "relevance"), [(*pair, 1) for pair in judged]),
    }
    with new_folder(config.output_dir) as folder:
        for name, (header, rows) in files.items():
            write_text(Path(folder) / f"{name}.csv", csv_text(header, rows))
    return {name: len(rows) for name, (_, rows) in files.items()}


def _clusters(matches: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return, for each text of a match, all texts of its component, in the order in which they occur."""
    members: dict[int, dict[str, None]] = {}
    components = connected_rows([*zip(*matches, strict=True)]).tolist()
    for pair, component in zip(matches, components, strict=True):
        members.setdefault(component, {}).update(dict.fromkeys(pair))
    return {text: list(texts) for texts in members.values() for text in texts}
