"""match --output_dir: pairs of any number of files, scored part by part, here or by the workers of a Ray cluster.

Each part of the input becomes one Parquet file, under a name that follows from the input, in one atomic write. So a part
that is scored twice, after a worker or the command was killed, is written once.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flipkd import __version__, progress
from flipkd.artefacts import library_errors
from flipkd.command_config import MatchConfig
from flipkd.commands.match_parts import (
    PAIRS,
    CutFile,
    Part,
    cut_file,
    find_inputs,
    rejected_row,
    write_parquet,
)
from flipkd.commands.match_rows import COLUMNS, RESULT, SCORED_BY, Scorer, require_free, to_jsonl
from flipkd.data.scored import REJECTED
from flipkd.errors import ArtefactError, DataError, NumbersError, UsageError
from flipkd.files import MANIFEST, check_manifest, read_json, sha256, write_json, write_manifest, write_text
from flipkd.partials import TEMPORARY
from flipkd.run_lock import locked_run
from flipkd.student.contract import find_matcher

logger = logging.getLogger(__name__)

SUMMARY = "summary.json"
DONE = ".done.json"  # ending of the record of a scored part, which is written after its result
MESSAGE = 200  # characters of a reason
AGAIN = "delete the folder and run the command again"


def match_files(config: MatchConfig) -> dict[str, Any]:
    """Match the pairs of all files into `output_dir`; returns the summary that is also written there.

    The folder gets part-*.parquet (file, row, kept columns, texts, score, probability, decision) in the order of the input,
    rejected.jsonl with the rows that cannot be scored and the reason, summary.json, and last a manifest.
    A stopped command resumes. Raises DataError when a file cannot be read or no row can be scored, ArtefactError when the
    folder holds other results.
    """
    folder = _checked_folder(config)
    files = find_inputs(config.pairs)
    matcher = sha256(find_matcher(config.matcher) / MANIFEST)
    settings = {name: getattr(config, name) for name in ("columns", "keep", "cascade", "exact", "rows_per_part")}
    settings |= {} if config.memory is None else {"memory": sha256(config.memory)}
    identity = {"files": files, "matcher": matcher, **settings, "flipkd_version": __version__}
    with locked_run(folder, identity):
        if (folder / MANIFEST).exists():
            check_manifest(folder)
            logger.warning("%s: is complete; delete it to score these files again", folder)
            return _finished(folder)
        parts = folder / PAIRS
        parts.mkdir(exist_ok=True)
        cutting: dict[str, Any] = {
            "columns": config.columns,
            "keep": config.keep,
            "rows_per_part": config.rows_per_part,
        }
        cut = [cut_file(file, number, parts, **cutting) for number, file in enumerate(files)]
        _score(config, [part for one in cut for part in one.parts], folder)
        return _finish(folder, cut)


def _finished(folder: Path) -> dict[str, Any]:
    """Return the summary of a complete folder. Raises DataError when a local file has changed since."""
    with library_errors(folder / SUMMARY, f"not a summary of flipkd; {AGAIN}"):
        summary = dict(read_json(folder / SUMMARY))
        known = {str(one["file"]): one["sha256"] for one in summary["files"]}
    for file, digest in known.items():
        if Path(file).is_file() and sha256(file) != digest:
            raise DataError(
                f"{file}: has changed since {folder} was made; delete that folder, or choose another --output_dir"
            )
    return summary


def _checked_folder(config: MatchConfig) -> Path:
    """Return the output folder. Raises UsageError for settings that contradict each other."""
    if not config.pairs or config.text1 is not None or config.text2 is not None:
        raise UsageError("--output_dir needs files of pairs; the row of one pair, --text1 and --text2, goes to stdout")
    if config.output_dir is None or config.output is not None:
        raise UsageError("give --output, a file, or --output_dir, a folder; not both")
    if config.workers is not None and config.engine == "local":
        raise UsageError("--workers is for --engine ray; --engine local scores in this process")
    if config.review_queue is not None:
        raise UsageError("--review_queue works with --output, or without either; --output_dir has no queue")
    require_free(config.keep, ["file", "row", *COLUMNS, SCORED_BY])
    return Path(config.output_dir)


def _score(config: MatchConfig, parts: Sequence[Part], folder: Path) -> None:
    """Score the parts that have no result yet."""
    left = [part for part in parts if not (folder / PAIRS / f"{part.name}{DONE}").exists()]
    if len(left) < len(parts):
        logger.warning("%s: continuing after %d of %d parts", folder, len(parts) - len(left), len(parts))
    if not left:
        return
    if config.engine == "ray":
        from flipkd.commands.match_ray import score_with_ray

        done: Iterator[str] = score_with_ray(config, left, folder)
    else:
        done = _score_here(config, left, folder)
    sizes = {part.name: part.rows for part in parts}
    finished = sum(sizes.values()) - sum(part.rows for part in left)
    with progress.bar(sum(sizes.values()), "pairs", unit="pair", initial=finished) as bar:
        for name in done:
            bar.update(sizes[name])


def _score_here(config: MatchConfig, parts: Sequence[Part], folder: Path) -> Iterator[str]:
    scorer = Scorer(config)
    for part in parts:
        score_part(scorer, part.name, part.file, folder)
        yield part.name
    scorer.log_summary()


def result_file(folder: Path, name: str) -> Path:
    """Path of the result of a part."""
    return folder / f"part-{name}.parquet"


def score_part(scorer: Scorer, name: str, file: str, folder: Path) -> None:
    """Score one part and write its result. Rows on which the model fails are rejected, unless it fails on all of them."""
    import pyarrow as pa

    table = _read(folder / PAIRS / f"{name}.parquet")
    scored, rejected = _score_rows(scorer, file, table.to_pylist())
    if len(rejected) == table.num_rows > 1:
        raise NumbersError(f"{file}: the model fails on all {table.num_rows} rows of a part ({rejected[0]['reason']})")
    if rejected:
        write_text(folder / PAIRS / f"{name}.rejected.jsonl", to_jsonl(rejected))
    results = [(name, pa.float64() if kind is float else pa.string()) for name, kind in RESULT.items()]
    further = [(SCORED_BY, pa.string())] if scorer.cascade or scorer.memory else []
    schema = pa.schema([("file", pa.string()), *table.schema, *results, *further])
    rows = [{"file": file} | row for row in scored]
    result = result_file(folder, name)
    write_parquet(result, pa.Table.from_pylist(rows, schema=schema))
    counts = Counter(row["decision"] for row in scored)
    write_json(folder / PAIRS / f"{name}{DONE}", {"sha256": sha256(result), "decisions": counts})


def _score_rows(
    scorer: Scorer, file: str, rows: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the scored rows, and the rejected rows with the reason; rows on which the model fails are found by halving."""
    if not rows:
        return [], []
    try:
        scores = scorer.rows([(row["text1"], row["text2"]) for row in rows])
    except (NumbersError, IndexError, RuntimeError, ValueError) as error:
        if len(rows) == 1:
            return [], [rejected_row(file, rows[0], str(error)[:MESSAGE])]
        middle = len(rows) // 2
        first, second = (_score_rows(scorer, file, half) for half in (rows[:middle], rows[middle:]))
        return first[0] + second[0], first[1] + second[1]
    return [row | found for row, found in zip(rows, scores, strict=True)], []


def _read(path: Path) -> Any:
    """Read a Parquet file of ours. Raises ArtefactError when it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, page_checksum_verification=True, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise ArtefactError(f"{path}: cannot be read ({error}); delete it and run the command again") from None


def _decisions(folder: Path, part: Part) -> Counter[str]:
    """Count of each decision in the result of a part. Raises ArtefactError when it was changed after it was written."""
    file, result = folder / PAIRS / f"{part.name}{DONE}", result_file(folder, part.name)
    with library_errors(file, "not a record of flipkd; delete it and run the command again"):
        record = read_json(file)
        decisions = Counter({str(name): int(count) for name, count in record["decisions"].items()})
        digest = record["sha256"]
    if not result.is_file() or sha256(result) != digest:
        raise ArtefactError(f"{result}: was changed or damaged; delete {file} and run the command again")
    return decisions


def _json_lines(path: Path) -> list[str]:
    """Read the lines of a file of `to_jsonl`: their texts may hold U+2028 and U+0085, at which str.splitlines would cut."""
    with open(path, encoding="utf-8", newline="\n") as lines:
        return [line.rstrip("\n") for line in lines]


def _finish(folder: Path, cut: Sequence[CutFile]) -> dict[str, Any]:
    """Check that each row is in exactly one result, and write the rejected rows, the summary and the manifest."""
    counts, rejected = Counter[str](), list[str]()
    for number, one in enumerate(cut):
        names = [f"{number:05d}", *(part.name for part in one.parts)]
        found = [folder / PAIRS / f"{name}.rejected.jsonl" for name in names]
        with library_errors(folder / PAIRS, f"rejected rows of {one.file} are damaged; {AGAIN}"):
            lines = [line for path in found if path.exists() for line in _json_lines(path)]
            rejected += sorted(lines, key=lambda line: int(json.loads(line)["row"]))
        decisions = sum((_decisions(folder, part) for part in one.parts), Counter[str]())
        if decisions.total() + len(lines) != one.rows:
            raise ArtefactError(
                f"{folder}: {decisions.total()} results and {len(lines)} rejected rows for {one.rows} rows of {one.file}; {AGAIN}"
            )
        counts += decisions
    if not counts.total():
        raise DataError(
            f"none of the {len(rejected)} rows can be scored; {folder / PAIRS} has them with their reasons"
        )
    rows = sum(one.rows for one in cut)
    files = [{"file": one.file, "sha256": one.sha256, "rows": one.rows} for one in cut]
    summary = {"rows": rows, "decisions": dict(counts), "rejected": len(rejected), "files": files}
    write_text(folder / REJECTED, "".join(f"{line}\n" for line in rejected))
    write_json(folder / SUMMARY, summary)
    # In one step: a part of these files must not be resumed.
    outgoing = folder / f"{TEMPORARY}{uuid.uuid4().hex[:8]}-pairs"
    os.replace(folder / PAIRS, outgoing)
    shutil.rmtree(outgoing)
    write_manifest(folder)
    return summary
