"""candidates: pairs of records that may be of the same entity, found by nearest neighbours and other rules."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flipkd.command_config import CandidatesConfig
from flipkd.commands.candidate_rules import DistinctTexts, equal_rule, find_pairs
from flipkd.commands.known_matches import known_matches
from flipkd.commands.results import require_writable, text_table
from flipkd.commands.row_file import new_row_file, require_format, types_of
from flipkd.data.columns import TEXT_ALIASES
from flipkd.data.records import Records, read_records, unique_rows
from flipkd.data.sources import columns_of
from flipkd.entities.groups import Rows
from flipkd.entities.pair_set import PairSet
from flipkd.errors import DataError, UsageError, nearest
from flipkd.figures import figure
from flipkd.files import write_json

logger = logging.getLogger(__name__)
BLOCK = 8192  # pairs of one write
DIGITS = 6  # of a similarity
TYPES = {"text1": str, "text2": str, "similarity": float, "rules": str}
RESERVED = {"row1", "id1", "text1", *(name for names in TEXT_ALIASES for name in names)}  # not for a kept column
MARK = "row1"  # a column of every result
SECOND_FILE = "; where its names differ, give --text_right, --id_right and --equal LEFT=RIGHT"


class Inputs:
    """The records of both files, with the columns that the settings name; `right` is None for one file against itself."""

    def __init__(self, config: CandidatesConfig) -> None:
        columns = [columns_of(path) for path in (config.left, config.right) if path is not None]
        self.equal = [equal_rule(text, columns[0], columns[-1]) for text in config.equal]
        if config.right is None and (unequal := [rule for rule in self.equal if rule.left != rule.right]):
            raise UsageError(f"--{unequal[0].name.replace(':', ' ')}: A=B is for two files; one file has one column")
        self.ids = (config.id, config.id if config.id_right is None else config.id_right)
        if unknown := [name for name in config.keep if not any(name in present for present in columns)]:
            listed = nearest(unknown[0], columns[0], what="columns of the file")
            raise DataError(f"{config.left}: has no column {unknown[0]!r} (--keep); {listed}")
        self.keep = [[name for name in dict.fromkeys(config.keep) if name in present] for present in columns]
        self.left = read_records(config.left, text=config.text, columns=self._columns(0))
        self.right: Records | None = None
        if config.right is not None:
            text = config.text_right or config.text
            self.right = read_records(config.right, text=text, columns=self._columns(1), hint=SECOND_FILE)
        for records, column in zip(self.both, self.ids, strict=False):
            if column is not None:
                unique_rows(records, column)

    @property
    def both(self) -> list[Records]:
        """Return the records of each file once."""
        return [self.left] if self.right is None else [self.left, self.right]

    def _columns(self, side: int) -> list[str]:
        equal = [name for rule in self.equal for name in (rule.right if side else rule.left)]
        own = self.ids[side]
        return list(dict.fromkeys([*self.keep[side], *equal, *([] if own is None else [own])]))


def candidates(config: CandidatesConfig) -> dict[str, Any]:
    """Write the candidate pairs of records to `output`, each with the rules that found it; returns the counts of each rule.

    Result: `records` of each file, `possible` pairs, `rules` (and `total`) with `pairs` and `only`, the pairs of no other
    rule; with `labels` also `known` matches, and `found` and `recall` of each rule, which are written to
    NAME.recall.json too. Raises UsageError for settings that contradict each other, DataError for records that cannot be
    used, ResourceError for an output that cannot be written.
    """
    recall = Path(config.output).with_suffix(".recall.json")
    _require_settings(config, recall)
    inputs = Inputs(config)
    distinct = DistinctTexts(inputs.left, inputs.right)
    known = None if config.labels is None else known_matches(config.labels, inputs.both, ids=inputs.ids)
    vectors = None
    if config.encoder is not None:
        from flipkd.commands.text_vectors import text_vectors

        store = Path(config.store or f"{Path(config.output).with_suffix('')}-vectors")
        vectors = text_vectors(
            config.encoder, [str(text) for text in distinct.texts], store=store, base_model=config.base_model
        )
    pairs = find_pairs(config, inputs.left, inputs.right, distinct=distinct, vectors=vectors, equal=inputs.equal)
    matches = None if known is None else pairs.numbers(*known)
    _write(config, inputs, pairs, _Similarity(distinct.numbers, vectors))
    result = {"records": [len(records) for records in inputs.both], "possible": pairs.possible}
    result |= {"known": None if matches is None else len(matches), "rules": pairs.summary(matches)}
    if known is not None:
        write_json(recall, result)
    return result


def _require_settings(config: CandidatesConfig, recall: Path) -> None:
    if config.encoder is None and not config.equal and config.min_word_overlap is None:
        raise UsageError("no rule makes candidates; give --encoder, --equal or --min_word_overlap")
    if config.min_similarity is not None and (config.encoder is None or not config.top_k):
        raise UsageError(
            "--min_similarity is for nearest neighbours; give --encoder and a --top_k above 0, or leave it out"
        )
    if config.right is None and (config.text_right or config.id_right is not None):
        raise UsageError("--text_right and --id_right are for a second file; give one, or leave them out")
    if config.id is None and config.id_right is not None:
        raise UsageError("--id_right is given without --id; give both")
    if taken := [name for name in config.keep if f"{name}1" in RESERVED]:
        raise UsageError(
            f"--keep {taken[0]}: the result cannot have the columns {taken[0]}1 and {taken[0]}2 beside its own (text1 and "
            "text2 are there anyway); leave the column out, or rename it in the file"
        )
    require_format(config.output)
    for source in (config.left, config.right):
        require_writable(config.output, source=source, mark=MARK)
    if config.labels is not None:
        require_writable(recall, source=config.labels, mark="recall")
    if config.encoder is not None:
        from flipkd.commands.text_vectors import require_vectors

        require_vectors(config.encoder)


class _Similarity:
    """Cosines of pairs of rows; None for each pair when there are no vectors."""

    def __init__(self, numbers: tuple[Rows, Rows], vectors: NDArray[np.float32] | None) -> None:
        self.numbers, self.vectors = numbers, vectors

    def of(self, left: Rows, right: Rows) -> Sequence[float | None]:
        """Compute the cosine of each pair of rows."""
        if self.vectors is None:
            return [None] * len(left)
        a, b = self.vectors[self.numbers[0][left]], self.vectors[self.numbers[1][right]]
        cosines: list[float] = np.einsum("nd,nd->n", a, b).astype(np.float64).round(DIGITS).tolist()
        return cosines


def _write(config: CandidatesConfig, inputs: Inputs, pairs: PairSet, similarity: _Similarity) -> None:
    ids, kept = _copied(inputs, ids=True), _copied(inputs, ids=False)
    types = {"row1": int, "row2": int, **_types(ids), **TYPES, **_types(kept)}
    with new_row_file(config.output, types, guard=config.guard) as write:
        numbers = pairs.all()
        for start in range(0, len(numbers), BLOCK):
            block = numbers[start : start + BLOCK]
            write(list(_rows(block, inputs, pairs, similarity, ids=ids, kept=kept)))


class _Copied(NamedTuple):
    """A column to copy: its name in the result, its values, and the side of the pair whose row it is of."""

    name: str
    values: Sequence[Any]
    side: int


def _copied(inputs: Inputs, *, ids: bool) -> list[_Copied]:
    """Return the columns of ids, or those of --keep."""
    sides = [(side, inputs.both[min(side, len(inputs.both) - 1)]) for side in (0, 1)]
    if ids:
        return [_Copied(f"id{side + 1}", of.columns[name], side) for side, of in sides if (name := inputs.ids[side])]
    names = dict.fromkeys(name for names in inputs.keep for name in names)
    return [
        _Copied(f"{name}{side + 1}", of.columns[name], side)
        for name in names
        for side, of in sides
        if name in inputs.keep[min(side, len(inputs.keep) - 1)]
    ]


def _types(columns: Sequence[_Copied]) -> dict[str, type]:
    return types_of([{column.name: column.values for column in columns}])


def _rows(
    block: Rows,
    inputs: Inputs,
    pairs: PairSet,
    similarity: _Similarity,
    *,
    ids: Sequence[_Copied],
    kept: Sequence[_Copied],
) -> Iterator[dict[str, Any]]:
    sides, texts = pairs.rows(block), (inputs.both[0].texts, inputs.both[-1].texts)
    found = zip(*(side.tolist() for side in sides), similarity.of(*sides), pairs.rules_of(block), strict=True)
    for left, right, cosine, rules in found:
        row: dict[str, Any] = {"row1": left + 1, "row2": right + 1}
        row |= {column.name: column.values[(left, right)[column.side]] for column in ids}
        row |= {"text1": texts[0][left], "text2": texts[1][right], "similarity": cosine, "rules": rules}
        yield row | {column.name: column.values[(left, right)[column.side]] for column in kept}


def candidates_text(found: Mapping[str, Any]) -> str:
    """Return a table of the rules, with the recall of known matches where it was measured, and the share of all pairs."""
    measured = found["known"] is not None
    header = ["rule", "pairs", "by this rule only", *(["known matches", "recall"] if measured else [])]
    rows = [
        [rule, f"{counts['pairs']:,}", f"{counts['only']:,}"]
        + ([f"{counts['found']:,}", f"{counts['recall']:.4f}"] if measured else [])
        for rule, counts in found["rules"].items()
    ]
    records, total = " x ".join(f"{count:,}" for count in found["records"]), found["rules"]["total"]["pairs"]
    share = 100 * total / max(found["possible"], 1)
    text = f"{records} records: {total:,} of {found['possible']:,} pairs are candidates ({figure(share, 2)} %)"
    known = f"; {found['known']:,} known matches" if measured else ""
    return f"{text_table(header, rows)}\n{text}{known}"
