"""Rows for flipkd watch: the reference, and the windows of a log."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from flipkd.command_config import WatchConfig
from flipkd.data.scored import Columns, join_columns, read_by_id, read_columns, scored_files
from flipkd.errors import DataError, UsageError, shorten
from flipkd.watch.rows import ScoredRows

FOUND = ("probability", "label", "text1", "text2", "id", "time")
VERSIONS = ("version", "matcher", "alias")
SECONDS = re.compile(r"\d{9,}(?:\.\d*)?")  # since 1970; 20261128 is a day in ISO 8601
FILE = "file"  # column of the name of each row's file


@dataclass(frozen=True)
class Window:
    """Rows of a log that are compared as one."""

    name: str
    rows: ScoredRows


def read_reference(config: WatchConfig) -> ScoredRows:
    """Read the reference. Raises DataError for a file without scores."""
    return _scored(_units(_read(config, config.reference), config.unit))


def read_windows(config: WatchConfig) -> list[Window]:
    """Read the windows of the log in their order.

    Raises DataError for a log of several versions of which none is chosen, for rows without a time in windows of days, and
    for labels none of whose ids is in the log.
    """
    columns = _of_version(_read(config, config.log), config)
    if config.labels:
        _add_labels(columns, config)
    names = _window_names(columns, config)
    windows = []
    for name in dict.fromkeys(sorted(names) if config.window == "day" else names):
        chosen = [row for row, other in enumerate(names) if other == name]
        rows = {column: [values[row] for row in chosen] for column, values in columns.items()}
        windows.append(Window(name, _scored(_units(rows, config.unit))))
    return windows


def _read(config: WatchConfig, path: str) -> Columns:
    required = ["score", *([config.unit] if config.unit else [])]
    optional = [name for name in (*FOUND, *VERSIONS) if name not in required]
    parts = []
    for file in scored_files(path):
        part = read_columns(file, required=required, optional=optional)
        parts.append(part | {FILE: [file.name] * len(part["score"])})
    columns = join_columns(parts)
    kept = [row for row, score in enumerate(columns["score"]) if score is not None]
    if not kept:
        raise DataError(f"{path}: no row has a score")
    return {name: [values[row] for row in kept] for name, values in columns.items()}


def _of_version(columns: Columns, config: WatchConfig) -> Columns:
    """Return the rows of the chosen version; several versions must not be mixed."""
    if config.version is None:
        counts = Counter(version for version in columns["version"] if version is not None)
        if len(counts) > 1:
            shown = ", ".join(f"{shorten(str(name))} ({count} rows)" for name, count in counts.most_common(5))
            raise DataError(f"{config.log}: has answers of several versions: {shown}; choose one with --version")
        return columns
    kept = [
        row
        for row, named in enumerate(zip(*(columns[name] for name in VERSIONS), strict=True))
        if config.version in map(str, named)
    ]
    if not kept:
        raise UsageError(
            f"--version {shorten(config.version)}: no row of {config.log} has this version, matcher or alias"
        )
    return {name: [values[row] for row in kept] for name, values in columns.items()}


def _add_labels(columns: Columns, config: WatchConfig) -> None:
    labels = read_by_id(config.labels or "", "label")
    joined = [labels.get(str(name)) for name in columns["id"]]
    if all(label is None for label in joined):
        raise DataError(f"{config.labels}: none of its {len(labels)} ids is in {config.log}; both need the column id")
    columns["label"] = joined


def _window_names(columns: Columns, config: WatchConfig) -> list[str]:
    """Return the name of each row's window."""
    count = len(columns["score"])
    if config.window == "all":
        return ["all"] * count
    if config.window == "file":
        return columns[FILE]
    if config.window == "day":
        return [_day(value, row, config.log) for row, value in enumerate(columns["time"], 1)]
    size = int(config.window)
    whole = max(1, count // size)  # the rest belongs to the last window, which would otherwise be too small
    starts = [min(row // size, whole - 1) * size for row in range(count)]
    return [f"rows {start + 1} to {start + size if start < (whole - 1) * size else count}" for start in starts]


def _day(value: Any, row: int, path: str) -> str:
    """Return the day in UTC of an ISO time or of seconds since 1970."""
    try:
        if isinstance(value, str) and SECONDS.fullmatch(value.strip()):  # of a csv file
            value = float(value)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC).date().isoformat()
        time = datetime.fromisoformat(str(value))
        return (time.astimezone(UTC) if time.tzinfo else time).date().isoformat()
    except (ValueError, OverflowError, OSError):
        got = "has no time" if value is None else f"got the time {shorten(value)}"
        raise DataError(
            f"{path}: row {row}: {got}; windows of days need a column time with ISO times or seconds since 1970 (flipkd "
            "match copies it with --keep time); without it use --window file, or a number of rows"
        ) from None


def _units(columns: Columns, unit: str | None) -> Columns:
    """Return one random row, by a fixed seed, of each value of the column `unit`; a row without a value is its own unit."""
    if unit is None:
        return columns
    values = columns[unit]
    order = np.random.default_rng(0).permutation(len(values)).tolist()
    rows = sorted({row if values[row] is None else str(values[row]): row for row in order}.values())
    return {name: [values[row] for row in rows] for name, values in columns.items()}


def _scored(columns: Columns) -> ScoredRows:
    probability = columns["probability"]
    texts = {side: columns[side] if None not in columns[side] else None for side in ("text1", "text2")}
    return ScoredRows(
        score=np.array(columns["score"], np.float64),
        probability=None if None in probability else np.array(probability, np.float64),
        label=np.array([-1 if label is None else label for label in columns["label"]], np.int64),
        text1=texts["text1"] and list(map(str, texts["text1"])),
        text2=texts["text2"] and list(map(str, texts["text2"])),
    )
