"""enrich, propagate and weak-pairs: one file of pairs becomes another."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.command_config import EnrichConfig, PropagateConfig, WeakPairsConfig
from flipkd.commands.match_rows import to_csv, to_jsonl
from flipkd.commands.matcher_teacher import is_matcher, open_teacher
from flipkd.commands.results import require_writable
from flipkd.data import read_pairs, read_texts
from flipkd.data.columns import find_columns
from flipkd.data.glossary import read_glossary
from flipkd.data.pairs import read_blocks
from flipkd.data.sources import open_source, readable
from flipkd.data.weak_pairs import shared_pairs
from flipkd.errors import DataError, UsageError, shorten
from flipkd.evaluate.propagation import propagate as propagated_probabilities
from flipkd.files import write_text
from flipkd.progress import loading
from flipkd.student.glossary import Glossary
from flipkd.text import normal_text

logger = logging.getLogger(__name__)
Rows = list[dict[str, Any]]
Floats = NDArray[np.float64]


def write_rows(output: str, rows: Rows) -> None:
    """Write rows as .csv or .jsonl."""
    write_text(Path(output), to_csv(rows, guard=False) if output.endswith(".csv") else to_jsonl(rows))


def require_output(output: str, *, source: str, mark: str) -> None:
    """Raise UsageError for an unknown file type, and what `require_writable` raises."""
    if Path(output).suffix not in (".csv", ".jsonl"):
        raise UsageError(f"{output}: unknown file type; name the result .csv or .jsonl")
    require_writable(output, source=source, mark=mark)


def enrich(config: EnrichConfig) -> tuple[int, int]:
    """Write the pairs with knowledge added to their texts, or with the score of a teacher that reads it.

    Return how many are changed, and the number of pairs.
    Raises UsageError when no knowledge is given, DataError for a column that the file does not have.
    """
    require_output(config.output, source=config.pairs, mark="text1")
    if not (config.glossary or config.context or config.instead):
        raise UsageError("no knowledge is given; set --glossary, --context or --instead")
    if config.instead and len(config.instead) != 2:
        raise UsageError(f"--instead needs two columns, got {len(config.instead)}")
    pairs = read_pairs(config.pairs, columns=config.columns)
    left, right = pairs["text1"][:], pairs["text2"][:]
    new = _enriched(config, left, right)
    columns = {name: pairs[name][:] for name in pairs.column_names}
    if config.teacher is None:
        columns |= dict(zip(("text1", "text2"), new, strict=True))
    else:
        columns["score"] = _scores(config.teacher, *new)
    write_rows(config.output, [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
    return sum(
        pair != old for pair, old in zip(zip(*new, strict=True), zip(left, right, strict=True), strict=True)
    ), len(left)


def _enriched(config: EnrichConfig, left: list[str], right: list[str]) -> tuple[list[str], list[str]]:
    names = [*config.context, *config.instead]
    kept: dict[str, list[Any]] = {name: [] for name in names}
    for block in read_blocks(config.pairs, columns=config.columns, keep=names) if names else ():
        for name in names:
            kept[name] += ["" if value is None else str(value) for value in block.kept[name]]
    sides = [left, right]
    if config.instead:
        sides = [
            [new if new.strip() else old for new, old in zip(kept[name], side, strict=True)]
            for name, side in zip(config.instead, sides, strict=True)
        ]
    if config.glossary:
        glossary = Glossary(read_glossary(config.glossary), max_characters=config.max_characters)
        sides = [[glossary.enrich(text) for text in side] for side in sides]
    for name, number in zip(config.context, (0, 1)[-len(config.context) :], strict=False):
        sides[number] = [
            f"{text} ({normal_text(note)})" if note.strip() else text
            for text, note in zip(sides[number], kept[name], strict=True)
        ]
    return sides[0], sides[1]


def _scores(folder: str, left: list[str], right: list[str]) -> list[float]:
    """Score pairs by a teacher, or by a matcher's own score."""
    loading(folder)
    if is_matcher(folder):
        from flipkd.matcher import Matcher

        return [float(s) for s in Matcher.from_pretrained(folder).predict(list(zip(left, right, strict=True)))]
    return [float(score) for score in open_teacher(folder, validation=None).pair_signal(left, right).pair_scores()]


def propagate(config: PropagateConfig) -> tuple[int, int]:
    """Write the pairs with the column `propagated`; return the number of decisions at 0.5 that changed, and of pairs.

    Raises DataError for a probability that is missing or outside [0, 1].
    """
    require_output(config.output, source=config.pairs, mark="propagated")
    with readable(config.pairs):
        source = open_source(config.pairs)
    texts = {
        column
        for name, column in find_columns(source.columns, config.columns, source.name).items()
        if name in ("text1", "text2")
    }
    names = [name for name in source.columns if name not in texts and name != "propagated"]
    if config.probability not in names:
        raise DataError(f"{config.pairs}: has no column {config.probability}; choose one with --probability")
    left: list[str] = []
    right: list[str] = []
    kept: dict[str, list[Any]] = {name: [] for name in names}
    for block in read_blocks(config.pairs, columns=config.columns, keep=names):
        left, right = left + block.left, right + block.right
        for name in names:
            kept[name] += block.kept[name]
    probability = _probabilities(config, kept[config.probability])
    moved = propagated_probabilities(left, right, probability, alpha=config.alpha)
    rows = [
        {"text1": a, "text2": b}
        | {name: kept[name][row] for name in names}
        | {"propagated": round(float(moved[row]), 6)}
        for row, (a, b) in enumerate(zip(left, right, strict=True))
    ]
    write_rows(config.output, rows)
    return int(((moved >= 0.5) != (probability >= 0.5)).sum()), len(rows)


def _probabilities(config: PropagateConfig, values: list[Any]) -> Floats:
    numbers = []
    for row, value in enumerate(values, start=1):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = np.nan
        if not 0 <= number <= 1:
            raise DataError(
                f"{config.pairs}: row {row}, column {config.probability}: got {shorten(value)}; a probability is a number from "
                "0 to 1"
            )
        numbers.append(number)
    return np.array(numbers, np.float64)


def weak_pairs(config: WeakPairsConfig) -> tuple[int, int]:
    """Write pairs of texts that share targets, and as many that share none; return both numbers.

    Raises DataError when no two texts share enough.
    """
    require_output(config.output, source=config.links, mark="origin")
    texts, kept = read_texts(config.links, column=config.text, keep=[config.target])
    names = list(dict.fromkeys(map(normal_text, texts)))
    number = {name: row for row, name in enumerate(names)}
    targets = {str(value): row for row, value in enumerate(dict.fromkeys(map(str, kept[config.target])))}
    found = shared_pairs(
        [number[normal_text(text)] for text in texts],
        [targets[str(value)] for value in kept[config.target]],
        match_from=config.match_from,
        min_shared=config.min_shared,
        seed=config.seed,
    )
    matches = int((found.label == 1).sum())
    if not matches:
        raise DataError(f"{config.links}: no two texts share enough targets; lower --match_from or --min_shared")
    rows = [
        {"text1": names[a], "text2": names[b], "label": int(y), "score": round(float(s), 6), "origin": "shared links"}
        for a, b, y, s in zip(*found, strict=True)
    ]
    write_rows(config.output, rows)
    return matches, len(rows) - matches
