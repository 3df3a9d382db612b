"""Detection of the field separator of a csv or tsv file: comma, semicolon, tab or bar."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from flipkd.data.columns import OTHER_ALIASES, TEXT_ALIASES
from flipkd.data.lines import Lines
from flipkd.errors import DataError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars (|)"}
_SAMPLE_CHARACTERS = 2**16
_SAMPLE_LINES = 200
_SAME_WIDTH = 0.9  # least share of rows with as many fields as the header
_HINT = re.compile(r'"?sep=([^\w\s"]|\t)"?[,;|\t]*\s*', re.IGNORECASE)  # a first line that Excel interprets and hides
_KNOWN = {name for names in (*TEXT_ALIASES, *OTHER_ALIASES.values()) for name in names}


@dataclass(frozen=True)
class Dialect:
    """Separator, number of lines before the header, and whether each separator is followed by a space that is no text."""

    separator: str
    skipped: int = 0
    spaced: bool = False


@dataclass(frozen=True)
class _Stats:
    """Statistics of the first lines, parsed with one separator: columns, known column names, share of rows of that width."""

    width: int
    known: int
    same_width: float


def find_dialect(path: Path, expected: str) -> Dialect:
    """Detect the separator: `expected`, unless only another one fits the first lines.

    csv.Sniffer may choose a letter such as "e"; here known column names count first, then rows as wide as the header.
    """
    lines, complete = _sample(path)
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if lines and (hint := _HINT.fullmatch(lines[first])):
        return Dialect(hint[1], first + 1, _is_spaced(lines[first + 1 :], hint[1]))
    found = {mark: stats for mark in {expected: 0, **SEPARATORS} if (stats := _stats(lines, mark, complete)).width > 1}
    if not found:
        return Dialect(expected)

    def fits(mark: str) -> tuple[bool, bool, bool, float]:
        stats = found[mark]
        return stats.known > 0, stats.same_width >= _SAME_WIDTH, mark == expected, stats.same_width

    best = max(found, key=fits)
    chosen = best if best == expected or any(fits(best)[:2]) else expected
    return Dialect(chosen, spaced=_is_spaced(lines, chosen))


def _is_spaced(lines: list[str], mark: str) -> bool:
    """Whether a space follows each separator of the header, as in `text1, "text2", label`."""
    line = next((line for line in lines if line.strip()), "")
    header = next(csv.reader([line[:_SAMPLE_CHARACTERS]], delimiter=mark), [])
    return len(header) > 1 and all(cell.startswith(" ") and cell.strip() for cell in header[1:])


def _sample(path: Path) -> tuple[list[str], bool]:
    """First lines of the file, and whether they are all of it."""
    lines: list[str] = []
    size = 0
    try:
        for line in Lines(path):
            lines.append(line)
            size += len(line)
            if size > _SAMPLE_CHARACTERS or len(lines) == _SAMPLE_LINES:
                return lines, False
    except DataError:  # reported with its location when the file is read
        return lines, False
    return lines, True


def _stats(lines: list[str], mark: str, complete: bool) -> _Stats:
    records: list[list[str]] = []
    try:
        for cells in csv.reader(lines, delimiter=mark):
            records += [cells] if any(cells) else []
    except csv.Error:  # a cell of more than 131,072 characters: use the rows before it
        complete = True
    if not records:
        return _Stats(0, 0, 0.0)
    header, rows = records[0], records[1:] if complete else records[1:-1]
    same_width = sum(len(row) == len(header) for row in rows) / len(rows) if rows else 1.0
    return _Stats(len(header), sum(name.strip().casefold() in _KNOWN for name in header), same_width)
