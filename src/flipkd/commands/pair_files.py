"""enrich, propagate and weak-pairs: one file of pairs becomes another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.command_config import EnrichConfig, PropagateConfig, WeakPairsConfig
from flipkd.commands.matcher_teacher import is_matcher, open_teacher
from flipkd.commands.results import require_new
from flipkd.commands.row_file import require_format, require_row_file, write_rows
from flipkd.data.columns import find_columns
from flipkd.data.glossary import read_glossary
from flipkd.data.pairs import read_blocks
from flipkd.data.records import read_texts, required_values
from flipkd.data.sources import columns_of, open_source, readable, require_columns
from flipkd.data.weak_pairs import shared_pairs
from flipkd.errors import DataError, UsageError, nearest, shorten
from flipkd.evaluate.propagation import propagate as propagated_probabilities
from flipkd.progress import loading
from flipkd.student.glossary import Glossary
from flipkd.text import normal_text

Rows = list[dict[str, Any]]
Floats = NDArray[np.float64]


def read_rows(
    path: str, *, columns: Mapping[str, str] | None, needed: Sequence[str] = ()
) -> tuple[Rows, dict[str, list[Any]]]:
    """Read the rows of a file of pairs, known columns by our names, and the `needed` columns by the file's names.

    Raises DataError as `read_blocks` does, and for a missing column.
    """
    with readable(path):
        source = open_source(path)
        require_columns(source, needed)
        ours = {theirs: name for name, theirs in find_columns(source.columns, columns, source.name).items()}
    rows: Rows = []
    found: dict[str, list[Any]] = {name: [] for name in needed}
    for block in read_blocks(path, columns=columns, keep=source.columns):
        names = [ours.get(column, column) for column in block.kept]
        rows += [dict(zip(names, values, strict=True)) for values in zip(*block.kept.values(), strict=True)]
        for name, values in found.items():
            values += block.kept[name]
    return rows, found


def enrich(config: EnrichConfig) -> tuple[int, int]:
    """Write the pairs with knowledge added to their texts, or with the score of a teacher that reads it.

    Return how many are changed, and the number of pairs.
    Raises UsageError when no knowledge is given, DataError for a column that the file does not have.
    """
    require_format(config.output)
    require_new(config.output, source=config.pairs)  # a file with the columns text1 and text2 may be the user's own
    if not (config.glossary or config.context or config.instead):
        raise UsageError("no knowledge is given; set --glossary, --context or --instead")
    if config.instead and len(config.instead) != 2:
        raise UsageError(f"--instead needs two columns, got {len(config.instead)}")
    rows, found = read_rows(config.pairs, columns=config.columns, needed=[*config.context, *config.instead])
    old = [(row["text1"], row["text2"]) for row in rows]
    notes = {name: ["" if value is None else str(value) for value in values] for name, values in found.items()}
    new = [*zip(*_enriched(config, notes, *map(list, zip(*old, strict=True))), strict=True)]
    if config.teacher is None:
        rows = [row | {"text1": a, "text2": b} for row, (a, b) in zip(rows, new, strict=True)]
    else:
        scores = _scores(config.teacher, *map(list, zip(*new, strict=True)))
        rows = [row | {"score": score} for row, score in zip(rows, scores, strict=True)]
    write_rows(config.output, rows)
    return sum(a != b for a, b in zip(new, old, strict=True)), len(rows)


def _enriched(
    config: EnrichConfig, notes: Mapping[str, list[str]], left: list[str], right: list[str]
) -> list[list[str]]:
    """Return both sides with knowledge; notes: the columns of `context` and `instead`."""
    sides = [left, right]
    if config.instead:
        sides = [
            [new if new.strip() else old for new, old in zip(notes[name], side, strict=True)]
            for name, side in zip(config.instead, sides, strict=True)
        ]
    if config.glossary:
        glossary = Glossary(read_glossary(config.glossary), max_characters=config.max_characters)
        sides = [[glossary.enrich(text) for text in side] for side in sides]
    for name, number in zip(config.context, (0, 1)[-len(config.context) :], strict=False):
        sides[number] = [
            f"{text} ({normal_text(note)})" if note.strip() else text
            for text, note in zip(sides[number], notes[name], strict=True)
        ]
    return sides


def _scores(folder: str, left: list[str], right: list[str]) -> list[float]:
    """Score pairs by a teacher, or by a matcher's own score."""
    loading(folder)
    if is_matcher(folder):
        from flipkd.matcher import Matcher

        return [float(s) for s in Matcher.from_pretrained(folder).predict(list(zip(left, right, strict=True)))]
    sides = [[normal_text(text) for text in side] for side in (left, right)]  # as in training
    return [float(score) for score in open_teacher(folder, validation=None).pair_signal(*sides).pair_scores()]


def propagate(config: PropagateConfig) -> tuple[int, int]:
    """Write the pairs with the column `propagated`; return the number of decisions at 0.5 that changed, and of pairs.

    Raises DataError for a probability that is missing or outside [0, 1].
    """
    require_row_file(config.output, source=config.pairs, mark="propagated")
    if config.probability not in (present := columns_of(config.pairs)):
        raise DataError(
            f"{config.pairs}: has no column {shorten(config.probability)}; "
            f"{nearest(config.probability, present, what='columns of the file')}; choose one with --probability"
        )
    rows, found = read_rows(config.pairs, columns=config.columns, needed=[config.probability])
    probability = _probabilities(config, found[config.probability])
    left, right = ([row[side] for row in rows] for side in ("text1", "text2"))
    moved = propagated_probabilities(left, right, probability, alpha=config.alpha)
    write_rows(config.output, [row | {"propagated": round(float(p), 6)} for row, p in zip(rows, moved, strict=True)])
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
    require_row_file(config.output, source=config.links, mark="origin")
    texts, kept = read_texts(config.links, column=config.text, keep=[config.target])
    texts = [normal_text(text) for text in texts]
    names = list(dict.fromkeys(texts))
    number = {name: row for row, name in enumerate(names)}
    targets = required_values(kept[config.target], path=config.links, column=config.target)
    found = shared_pairs(
        [number[text] for text in texts],
        np.unique(targets, return_inverse=True)[1].tolist(),
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
