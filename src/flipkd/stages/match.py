"""match: score, probability and decision for every pair of a file, or for one pair."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flipkd.data import read_columns, read_pairs
from flipkd.errors import DataError, UsageError
from flipkd.files import write_text
from flipkd.stages.results import csv_text, require_writable
from flipkd.text import is_empty

if TYPE_CHECKING:
    from flipkd.matcher import Matcher

FORMATS = (".csv", ".jsonl")
COLUMNS = ("text1", "text2", "score", "probability", "decision")
SHOWN_ROWS = 5
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def match(
    matcher: str,
    pairs_file: str,
    *,
    output: str | None = None,
    columns: dict[str, str] | None = None,
    keep: Sequence[str] = (),
    base_model: str | None = None,
    batch_size: int = 32,
) -> list[dict[str, Any]]:
    """Rows {text1, text2, score, probability, decision} in the order of the file; written to `output` when given.

    `keep`: columns of the file that come before them, as they are. Raises DataError for empty texts (naming rows) before
    any model is loaded, UsageError for another ending of `output`.
    """
    if output:
        if Path(output).suffix not in FORMATS:
            raise UsageError(f"{output}: results are written as {' or '.join(FORMATS)}; give it one of these endings")
        require_writable(output, source=pairs_file)
    dataset = read_pairs(pairs_file, columns=columns, only=("text1", "text2"))  # a label may be anything
    pairs = list(zip(dataset["text1"][:], dataset["text2"][:], strict=True))
    _refuse_empty(pairs, pairs_file)
    if taken := sorted({*keep} & {*COLUMNS}):
        raise UsageError(f"--keep {taken[0]}: the result has a column of that name; it cannot be kept under it")
    kept = read_columns(pairs_file, keep, columns=columns) if keep else {}
    from flipkd.matcher import Matcher  # brings torch: only once the pairs are known to be good

    scored = _rows(Matcher.from_pretrained(matcher, base_model=base_model), pairs, batch_size=batch_size)
    rows = [{name: values[number] for name, values in kept.items()} | row for number, row in enumerate(scored)]
    if output:
        write_text(output, to_csv(rows) if output.endswith(".csv") else to_jsonl(rows))
    return rows


def match_one(matcher: str, text1: str, text2: str, *, base_model: str | None = None) -> list[dict[str, Any]]:
    """The row of one pair given as words."""
    from flipkd.matcher import Matcher

    return _rows(Matcher.from_pretrained(matcher, base_model=base_model), [(text1, text2)], batch_size=1)


def _refuse_empty(pairs: list[tuple[str, str]], name: str) -> None:
    empty = [number for number, pair in enumerate(pairs, 1) if any(map(is_empty, pair))]
    if empty:
        shown = ", ".join(map(str, empty[:SHOWN_ROWS])) + (", ..." if len(empty) > SHOWN_ROWS else "")
        raise DataError(f"{name}: {len(empty)} rows have an empty text (row {shown}); fill or remove them")


def _rows(matcher: Matcher, pairs: list[tuple[str, str]], *, batch_size: int) -> list[dict[str, Any]]:
    scores = matcher.predict(pairs, batch_size=batch_size, show_progress_bar=len(pairs) > 1)
    values = scores.tolist(), matcher.calibration.apply(scores).tolist(), matcher.decisions(scores)
    return [dict(zip(COLUMNS, (*pair, *row), strict=True)) for pair, *row in zip(pairs, *values, strict=True)]


def to_jsonl(rows: list[dict[str, Any]]) -> str:
    """One JSON object per line, texts as they are."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def to_csv(rows: list[dict[str, Any]]) -> str:
    """CSV in which a text that a spreadsheet would run as a formula gets a leading apostrophe; numbers are untouched."""
    header = list(rows[0]) if rows else COLUMNS
    return csv_text(header, ([_guarded(row[name]) for name in header] for row in rows))


def _guarded(cell: Any) -> Any:
    return "'" + cell if isinstance(cell, str) and cell.startswith(FORMULA) else cell
