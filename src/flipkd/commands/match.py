"""match: score, probability and decision of every pair of a file, or of one pair."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flipkd import __version__, progress
from flipkd.command_config import MatchConfig
from flipkd.commands.match_pairs import StoredPairs, stored_pairs
from flipkd.commands.match_review import MatchReview
from flipkd.commands.match_rows import COLUMNS, SCORED_BY, Scorer, require_free, to_csv, to_jsonl
from flipkd.commands.pairs import file_identity
from flipkd.commands.results import require_writable
from flipkd.commands.resumable_file import ResumableFile, resumable_file
from flipkd.data.pairs import PairBlock
from flipkd.errors import DataError, NumbersError, UsageError
from flipkd.files import sha256

logger = logging.getLogger(__name__)

Show = Callable[[list[dict[str, Any]]], object]
FORMATS = (".csv", ".jsonl")
BLOCK = 8192  # pairs that are scored between two writes


def match(config: MatchConfig, *, show: Show = lambda rows: None) -> Counter[str]:
    """Match one pair, or the pairs of a file block by block; returns the count of each decision.

    Rows {text1, text2, score, probability, decision} keep the order of the file. They are written to `output` when it is
    given, and a stopped command continues after the rows in it; otherwise the callback `show` gets them, a block at a time.
    With a cascade the matcher's teacher decides the pairs on which it is sure enough: rows have the column `scored_by`, and
    share and speed are logged at the end.
    With `review_queue` the pairs that people should see are added to that file before the rows are written or shown.
    Raises UsageError for settings that contradict each other, DataError for empty texts (with their rows) before any model
    is loaded, ConfigError for a cascade of a matcher that has none.
    """
    _require_settings(config)
    with MatchReview(config) as review:
        if not config.pairs:
            return _match_pair(config, show, review)
        pairs_file = config.pairs[0]
        stamp = _stamp(pairs_file)
        with stored_pairs(pairs_file, columns=config.columns, keep=config.keep) as pairs:
            return _match_file(config, show, review, pairs_file=pairs_file, stamp=stamp, pairs=pairs)


def _match_file(
    config: MatchConfig,
    show: Show,
    review: MatchReview,
    *,
    pairs_file: str,
    stamp: tuple[int, int] | None,
    pairs: StoredPairs,
) -> Counter[str]:
    """Match the stored pairs of a file, whose stamp was `stamp` before it was read."""
    output, scorer = config.output, Scorer(config)
    blocks, count = _joined_blocks(pairs.blocks()), pairs.count
    identity = _identity(config, scorer, pairs_file, count) if output or config.review_queue else {}
    review.begin(scorer.matcher, identity)
    if output is None:
        counts = Counter[str]()
        for rows in _scored_rows(scorer, review, blocks, count=count, done=0):
            counts.update(row["decision"] for row in rows)
            show(rows)
        scorer.log_summary()
        return counts
    with resumable_file(output, identity) as file:
        counts = _write(file, Path(output), scorer, review, blocks, count=count, guard=config.guard)
        if file.rows != count or _stamp(pairs_file) != stamp:
            raise DataError(
                f"{pairs_file}: the file changed while it was scored; {output} is not written, run the command again"
            )
    scorer.log_summary()
    return counts


def _identity(config: MatchConfig, scorer: Scorer, pairs_file: str, count: int) -> dict[str, Any]:
    """Return all that the rows of an output file depend on."""
    return {
        "matcher": scorer.matcher.fingerprint,
        "pairs": file_identity(pairs_file),
        "count": count,
        "columns": config.columns,
        "keep": config.keep,
        "guard": config.guard,
        "flipkd_version": __version__,
        **({"cascade": True} if config.cascade else {}),
        **({"exact": True} if config.exact else {}),
        **({"memory": sha256(config.memory)} if config.memory else {}),
    }


def _write(
    file: ResumableFile,
    output: Path,
    scorer: Scorer,
    review: MatchReview,
    blocks: Iterator[PairBlock],
    *,
    count: int,
    guard: bool,
) -> Counter[str]:
    """Write the rows that the file does not have yet; returns the counts of all its rows."""
    if file.rows:
        logger.warning("%s: continuing after %d of %d pairs that were scored before", output, file.rows, count)
    counts = Counter(file.notes)
    is_csv = output.suffix == ".csv"
    for rows in _scored_rows(scorer, review, blocks, count=count, done=file.rows):
        counts.update(row["decision"] for row in rows)
        text = to_csv(rows, header=not file.rows, guard=guard) if is_csv else to_jsonl(rows)
        file.append(text, rows=len(rows), notes=counts)
    return counts


def _require_settings(config: MatchConfig) -> None:
    """Raise UsageError for settings that contradict each other, ResourceError for a result that cannot be written."""
    texts = [text for text in (config.text1, config.text2) if text is not None]
    if len(texts) != (0 if config.pairs else 2):
        raise UsageError("give a file of pairs, or one pair as --text1 and --text2")
    if len(config.pairs) > 1 or config.engine != "local" or config.workers is not None:
        raise UsageError("several files, --engine ray and --workers need --output_dir, a folder for their results")
    if not config.pairs and (config.output is not None or config.keep):
        raise UsageError("--output and --keep are for a file of pairs; the row of one pair goes to stdout")

    if config.output:
        if Path(config.output).suffix not in FORMATS:
            raise UsageError(f"{config.output}: unknown file type; name the result {' or '.join(FORMATS)}")
        for source in (config.pairs[0], config.memory):  # a memory may be an earlier result with labels
            require_writable(config.output, source=source, mark="decision")
    require_free(config.keep, [*COLUMNS, *([SCORED_BY] if config.cascade or config.memory else [])])


def _stamp(pairs_file: str) -> tuple[int, int] | None:
    """Size and modification time of a file; None for a data set of the hub."""
    path = Path(pairs_file)
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _joined_blocks(parts: Iterator[PairBlock]) -> Iterator[PairBlock]:
    """Join blocks to about BLOCK rows each, enough for batches of similar length."""
    pending: list[PairBlock] = []
    for part in parts:
        pending.append(part)
        if sum(len(one.left) for one in pending) >= BLOCK:
            yield _join(pending)
            pending = []
    if pending:
        yield _join(pending)


def _join(parts: list[PairBlock]) -> PairBlock:
    kept = {name: [value for part in parts for value in part.kept[name]] for name in parts[0].kept}
    return PairBlock([text for p in parts for text in p.left], [text for p in parts for text in p.right], kept)


def _scored_rows(
    scorer: Scorer, review: MatchReview, blocks: Iterator[PairBlock], *, count: int, done: int
) -> Iterator[list[dict[str, Any]]]:
    """Yield the result rows of each block, except the first `done` rows of the file; those to review are in the queue then."""
    first = 0
    with progress.bar(count, "pairs", unit="pair", initial=done) as bar:
        for block in blocks:
            skip = min(max(done - first, 0), len(block.left))
            first += len(block.left)
            if skip == len(block.left):
                continue
            pairs = list(zip(block.left[skip:], block.right[skip:], strict=True))
            try:
                scored = scorer.rows(pairs)
            except NumbersError as error:
                row = first - len(pairs) + 1
                raise NumbersError(
                    f"{error}; pair 0 is row {row} of the file, and the rows before it are kept"
                ) from error
            review.add(scorer.matcher, scored, first=first - len(pairs))
            kept = {name: values[skip:] for name, values in block.kept.items()}
            yield [{name: values[k] for name, values in kept.items()} | row for k, row in enumerate(scored)]
            bar.update(len(pairs))


def _match_pair(config: MatchConfig, show: Show, review: MatchReview) -> Counter[str]:
    """Match one pair and pass its row to `show`."""
    pair, scorer = (config.text1 or "", config.text2 or ""), Scorer(config)
    rows = scorer.rows([pair])
    review.begin(scorer.matcher, {})
    review.add(scorer.matcher, rows, first=0)
    show(rows)
    return Counter(row["decision"] for row in rows)
