"""match: score, probability and decision for every pair of a file, or for one pair."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flipkd import __version__, progress
from flipkd.command_config import MatchConfig
from flipkd.commands.match_rows import COLUMNS, SCORED_BY, TEACHER, Scorer, to_csv, to_jsonl
from flipkd.commands.results import require_writable
from flipkd.commands.resumable_file import ResumableFile, resumable_file
from flipkd.data import read_blocks
from flipkd.errors import DataError, NumbersError, UsageError
from flipkd.files import sha256
from flipkd.text import is_empty

if TYPE_CHECKING:
    from flipkd.data.pairs import PairBlock

logger = logging.getLogger(__name__)

Show = Callable[[list[dict[str, Any]]], object]
FORMATS = (".csv", ".jsonl")
BY_TEACHER = "scored by the teacher"
SHOWN_ROWS = 5
BLOCK = 8192  # pairs that are scored between two writes


def match(config: MatchConfig, *, show: Show = lambda rows: None) -> Counter[str]:
    """How often each decision was made: for one pair, or for the pairs of a file, of which a block is in memory at a time.

    With a cascade the matcher's teacher decides the pairs on which it is sure enough; rows then say who scored them, and
    the count has BY_TEACHER too. Share and speed are logged at the end.

    Rows {text1, text2, score, probability, decision} in the order of the file go to `output` when it is given, which
    goes on where it was stopped, else to `show`, a block at a time. Raises UsageError for settings that do not fit each other,
    DataError for empty texts (naming rows) before any model is loaded, ConfigError for a cascade of a matcher without one.
    """
    _require_settings(config)
    if config.pairs is None:
        return _match_one(config, show)
    pairs_file, output = config.pairs, config.output
    count = _checked_count(pairs_file, columns=config.columns, keep=config.keep)
    score = Scorer(config)
    blocks = _blocks(read_blocks(pairs_file, columns=config.columns, keep=config.keep))
    if output is None:
        counts = Counter[str]()
        for rows in _scored(score, blocks, count=count, done=0):
            counts += _counted(rows)
            show(rows)
        score.log_summary(counts[BY_TEACHER], pairs_in(counts))
        return counts
    identity = {
        "matcher": score.matcher.fingerprint,
        "pairs": sha256(pairs_file) if Path(pairs_file).is_file() else pairs_file,
        "count": count,
        "columns": config.columns,
        "keep": config.keep,
        "guard": config.guard,
        "flipkd_version": __version__,
        **({"cascade": True} if config.cascade else {}),
        **({"exact": True} if config.exact else {}),
    }
    as_it_was = _stamp(pairs_file)
    with resumable_file(output, identity) as file:
        counts = _written(file, Path(output), score, blocks, count=count, guard=config.guard)
        if file.rows != count or _stamp(pairs_file) != as_it_was:
            raise DataError(f"{pairs_file}: was changed while it was scored; {output} is not written, run again")
    score.log_summary(counts[BY_TEACHER], pairs_in(counts))
    return counts


def _written(
    file: ResumableFile, output: Path, score: Scorer, blocks: Iterator[PairBlock], *, count: int, guard: bool
) -> Counter[str]:
    """Write the rows that the file does not have yet; returns the count of all."""
    if file.rows:
        logger.warning("%s: going on after %d of %d pairs that were scored before", output, file.rows, count)
    counts = Counter(file.notes)
    is_csv = output.suffix == ".csv"
    for rows in _scored(score, blocks, count=count, done=file.rows):
        counts += _counted(rows)
        text = to_csv(rows, header=not file.rows, guard=guard) if is_csv else to_jsonl(rows)
        file.append(text, rows=len(rows), notes=counts)
    return counts


def _require_settings(config: MatchConfig) -> None:
    """Raise UsageError for settings that do not fit each other, or a result that cannot be written."""
    texts = [text for text in (config.text1, config.text2) if text is not None]
    if len(texts) != (2 if config.pairs is None else 0):
        raise UsageError("give a file of pairs, or one pair as --text1 and --text2")
    if config.pairs is None and (config.output is not None or config.keep):
        raise UsageError("--output and --keep are for a file of pairs; the row of one pair goes to stdout")

    output, columns = config.output, (*COLUMNS, SCORED_BY) if config.cascade else COLUMNS
    if output:
        if Path(output).suffix not in FORMATS:
            raise UsageError(f"{output}: results are written as {' or '.join(FORMATS)}; give it one of these endings")
        require_writable(output, source=config.pairs)
    if taken := sorted({*config.keep} & {*columns}):
        raise UsageError(f"--keep {taken[0]}: the result has a column of that name; it cannot be kept under it")


def _counted(rows: list[dict[str, Any]]) -> Counter[str]:
    by_teacher = sum(row.get(SCORED_BY) == TEACHER for row in rows)
    return Counter(row["decision"] for row in rows) + Counter({BY_TEACHER: by_teacher})


def pairs_in(counts: Counter[str]) -> int:
    """How many pairs a count is of."""
    return counts.total() - counts[BY_TEACHER]


def _stamp(pairs_file: str) -> tuple[int, int] | None:
    """What tells that a file was written to; None for a data set of the hub."""
    path = Path(pairs_file)
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _checked_count(pairs_file: str, *, columns: dict[str, str] | None, keep: Sequence[str]) -> int:
    """How many pairs the file has. Raises DataError naming rows with an empty text."""
    count, empty = 0, list[int]()
    for block in read_blocks(pairs_file, columns=columns, keep=keep):
        pairs = enumerate(zip(block.left, block.right, strict=True), count + 1)
        empty += [number for number, pair in pairs if any(map(is_empty, pair))]
        count += len(block.left)
    if empty:
        shown = ", ".join(map(str, empty[:SHOWN_ROWS])) + (", ..." if len(empty) > SHOWN_ROWS else "")
        raise DataError(f"{pairs_file}: {len(empty)} rows have an empty text (row {shown}); fill or remove them")
    return count


def _blocks(parts: Iterator[PairBlock]) -> Iterator[PairBlock]:
    """The same rows in blocks of about BLOCK: enough for batches of like length."""
    held: list[PairBlock] = []
    for part in parts:
        held.append(part)
        if sum(len(one.left) for one in held) >= BLOCK:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(parts: list[PairBlock]) -> PairBlock:
    from flipkd.data.pairs import PairBlock

    kept = {name: [value for part in parts for value in part.kept[name]] for name in parts[0].kept}
    return PairBlock([text for p in parts for text in p.left], [text for p in parts for text in p.right], kept)


def _scored(score: Scorer, blocks: Iterator[PairBlock], *, count: int, done: int) -> Iterator[list[dict[str, Any]]]:
    """Result rows of each block, without the first `done` rows of the file."""
    first = 0
    with progress.bar(count, "pairs", unit="pair", initial=done) as bar:
        for block in blocks:
            skip = min(max(done - first, 0), len(block.left))
            first += len(block.left)
            if skip == len(block.left):
                continue
            pairs = list(zip(block.left[skip:], block.right[skip:], strict=True))
            try:
                scored = score.rows(pairs)
            except NumbersError as error:
                row = first - len(pairs) + 1
                raise NumbersError(
                    f"{error}, where pair 0 is row {row} of the file; the rows before are kept"
                ) from error
            kept = {name: values[skip:] for name, values in block.kept.items()}
            yield [{name: values[k] for name, values in kept.items()} | row for k, row in enumerate(scored)]
            bar.update(len(pairs))


def _match_one(config: MatchConfig, show: Show) -> Counter[str]:
    """The count of one pair, whose row goes to `show`."""
    pair = (config.text1 or "", config.text2 or "")
    rows = Scorer(config).rows([pair])
    show(rows)
    return _counted(rows)
