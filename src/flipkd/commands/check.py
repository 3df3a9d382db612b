"""Check files of pairs, and split a file into three that share no text."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flipkd.command_config import CheckConfig, SplitConfig
from flipkd.commands.results import csv_text, text_table
from flipkd.data.check import CheckReport, check_pairs
from flipkd.data.leakage import Leak, leaks_by_side
from flipkd.data.pairs import read_pairs
from flipkd.data.split import split_pairs
from flipkd.errors import DataError, ResourceError
from flipkd.files import resource_errors, write_text
from flipkd.partials import clear_stale
from flipkd.teachers.preflight import FEWEST_PAIRS, FEWEST_PER_CLASS, too_few

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckedFiles:
    """Reports of one or more files, and the leaks between them."""

    reports: dict[str, CheckReport]
    leaks: dict[tuple[str, str], Leak]
    """(earlier, later) file -> the texts that the later file shares with the earlier one; only pairs of files with a leak."""

    def as_json(self) -> str:
        """Return all counts, problems, warnings and leaks as JSON."""
        files = {
            name: {"counts": report.counts, "problems": report.problems, "warnings": report.warnings}
            for name, report in self.reports.items()
        }
        leaks = [{"earlier": earlier, "later": later, **asdict(leak)} for (earlier, later), leak in self.leaks.items()]
        return json.dumps({"files": files, "leaks": leaks}, indent=2, ensure_ascii=False)

    def text(self) -> str:
        """Return one table with a column per file, then the problems, warnings and leaks."""
        short = [Path(name).name for name in self.reports]
        heads = short if len({*short}) == len(short) else list(self.reports)
        figures = {head: dict(report.table()) for head, report in zip(heads, self.reports.values(), strict=True)}
        counted = dict.fromkeys(row for column in figures.values() for row in column)
        rows = [[row, *(column.get(row, "-") for column in figures.values())] for row in counted]
        lines = []
        for name, report in self.reports.items():
            lines += [f"problem: {name}: {problem}" for problem in report.problems]
            lines += [f"warning: {name}: {warning}" for warning in report.warnings]
        if any("(row" in line for line in lines):
            lines.append("note: row 1 is the first row below the header; empty rows are not counted")
        lines += [line for names, leak in self.leaks.items() for line in _leak_messages(*names, leak)]
        return "\n".join([text_table(["", *figures], rows), *([""] if lines else []), *lines])

    def require(self) -> None:
        """Raise DataError when a file cannot be used for training; the problems themselves are in `text` and `as_json`."""
        if bad := [name for name, report in self.reports.items() if report.problems]:
            raise DataError(f"cannot be used until its problems in the output are corrected: {', '.join(bad)}")


def check(config: CheckConfig) -> CheckedFiles:
    """Read and check files of pairs; with a tokenizer, count lengths in its tokens."""
    counter = None
    if config.tokenizer:
        from flipkd.student.language_model import load_tokenizer  # imports torch

        counter = load_tokenizer(config.tokenizer)
    sets = {name: read_pairs(name, columns=config.columns) for name in dict.fromkeys(config.files)}
    reports = {
        name: check_pairs(dataset, name=name, tokenizer=counter, directed=config.directed)
        for name, dataset in sets.items()
    }
    return CheckedFiles(
        reports, {names: leak for names, leak in leaks_by_side(sets).items() if leak.text1_rows or leak.text2_rows}
    )


def _leak_messages(earlier: str, later: str, leak: Leak) -> list[str]:
    lines = []
    if leak.rows:
        sides = f"text1 in {leak.text1_rows}, text2 in {leak.text2_rows}"
        lines.append(f"leak: {leak.rows} rows of {later} contain a text of {earlier} ({sides})")
    if leak.shared_text2:
        lines.append(
            f"note: {leak.text2_rows} rows of {later} have a text2 of {earlier}: the files share a list of "
            f"{leak.shared_text2} texts on the right side, such as FAQ entries; this is fine when only text1 is new in use"
        )
    return lines


def split(config: SplitConfig) -> dict[str, dict[str, int]]:
    """Split a file into `output_dir/{train,validation,test}.csv` by `split_pairs`; return the counts of each file by path.

    Raises ResourceError instead of overwriting a file with other rows.
    """
    dataset = read_pairs(config.pairs, columns=config.columns)
    parts = split_pairs(dataset, by=config.by, validation=config.validation, test=config.test, seed=config.seed)
    files = {Path(config.output_dir) / f"{name}.csv": _csv(part) for name, part in parts.items()}
    for path, content in files.items():
        with resource_errors(path):
            if path.exists() and path.read_bytes() != content.encode("utf-8"):
                raise ResourceError(f"{path}: already exists with other rows; choose another --output_dir")
    clear_stale(Path(config.output_dir))
    for path, content in files.items():
        write_text(path, content)
    names = ("rows", "positive", "negative", "unlabelled")
    counts = {part: check_pairs(rows).counts for part, rows in parts.items()}
    _warn_of_few(counts.get("validation"))
    return {
        str(path): {name: found[name] for name in names} for path, found in zip(files, counts.values(), strict=True)
    }


def _warn_of_few(validation: dict[str, Any] | None) -> None:
    """Log a warning if the threshold and the score, which are chosen on validation, will depend on too few pairs."""
    if validation is None or not validation["labelled"]:
        return
    if too_few(validation["positive"], validation["negative"]):
        logger.warning(
            "validation has few labelled pairs to choose a threshold on; use at least %d, and %d of each class: a larger "
            "--validation, or more labels",
            FEWEST_PAIRS,
            FEWEST_PER_CLASS,
        )


def _csv(dataset: Any) -> str:
    columns = [dataset[name][:] for name in dataset.column_names]
    return csv_text(dataset.column_names, zip(*columns, strict=True))
