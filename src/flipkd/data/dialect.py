"""What stands between the fields of a csv or tsv file, whatever its name says: comma, semicolon, tab or bar."""

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
_ALIKE = 0.9  # of the rows that have as many fields as the header
_HINT = re.compile(
    r'"?sep=([^\w\s"]|\t)"?[,;|\t]*\s*', re.IGNORECASE
)  # a first line that Excel reads and does not show
_KNOWN = {name for names in (*TEXT_ALIASES, *OTHER_ALIASES.values()) for name in names}


@dataclass(frozen=True)
class Dialect:
    """The separator, and how many lines stand before the header."""

    separator: str
    skipped: int = 0


@dataclass(frozen=True)
class _Reading:
    """How the first lines look when read with one separator."""

    width: int
    known: int
    alike: float


def find_dialect(path: Path, expected: str) -> Dialect:
    """How a file is to be read: `expected`, unless its first lines make sense with another separator only.

    csv.Sniffer guesses by letters and takes "e" for a separator; here the header decides, then whether rows are as wide.
    """
    lines, whole = _sample(path)
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if lines and (hint := _HINT.fullmatch(lines[first])):
        return Dialect(hint[1], first + 1)
    found = {mark: reading for mark in {expected: 0, **SEPARATORS} if (reading := _read(lines, mark, whole)).width > 1}
    if not found:
        return Dialect(expected)

    def fits(mark: str) -> tuple[bool, bool, bool, float]:
        reading = found[mark]
        return reading.known > 0, reading.alike >= _ALIKE, mark == expected, reading.alike

    best = max(found, key=fits)
    return Dialect(best if best == expected or any(fits(best)[:2]) else expected)


def _sample(path: Path) -> tuple[list[str], bool]:
    """The first lines, and whether they are all."""
    lines: list[str] = []
    size = 0
    try:
        for line in Lines(path):
            lines.append(line)
            size += len(line)
            if size > _SAMPLE_CHARACTERS or len(lines) == _SAMPLE_LINES:
                return lines, False
    except DataError:  # said with its place when the file is read
        return lines, False
    return lines, True


def _read(lines: list[str], mark: str, whole: bool) -> _Reading:
    records: list[list[str]] = []
    try:
        for cells in csv.reader(lines, delimiter=mark):
            records += [cells] if any(cells) else []
    except csv.Error:  # a cell of more than 131,072 characters: what came before it must do
        whole = True
    if not records:
        return _Reading(0, 0, 0.0)
    header, rows = records[0], records[1:] if whole else records[1:-1]
    alike = sum(len(row) == len(header) for row in rows) / len(rows) if rows else 1.0
    return _Reading(len(header), sum(name.strip().casefold() in _KNOWN for name in header), alike)
