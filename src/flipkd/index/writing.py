"""Writes of a LanceDB index: each is one version, on the disk and in the manifest when the call returns, or not made at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flipkd.errors import ConfigError, DataError, ResourceError, UsageError, shorten
from flipkd.files import MANIFEST, read_json, sha256, sync_folder, write_json
from flipkd.index.columns import ID, TEXT, check_ids, converted, table_of
from flipkd.index.engine import LOCK, engine_errors, planned_filter
from flipkd.index.hits import Floats, check_unit_vectors
from flipkd.index.lance import HINT, TABLE, LanceIndex, make_vector_index
from flipkd.index.memory import HEADER


class Change(NamedTuple):
    """What a write did; `version` is the number of the newest version after it."""

    version: int
    added: int = 0
    replaced: int = 0
    deleted: int = 0


def upsert(
    index: LanceIndex,
    entries: Sequence[Mapping[str, Any]],
    vectors: Floats,
    *,
    existing_only: bool = False,
    patience: float = 0.0,
) -> Change:
    """Write entries with their unit vectors [n, d]; an entry whose id is there is replaced. `existing_only`: all must be there.

    `patience`: seconds to wait for another process that writes. Raises DataError for an entry that cannot be written,
    UsageError for another width, ResourceError for a full disk or when another process writes for longer.
    """
    rows = [converted(entry, index.columns) for entry in entries]
    check_ids(rows)
    check_unit_vectors(vectors, len(rows))
    if not rows:
        return Change(index.version)
    if vectors.shape[1] != index.width:
        raise UsageError(f"got vectors of width {vectors.shape[1]}; the index has vectors of width {index.width}")
    data = table_of(rows, vectors, index.columns)
    with writing(index, patience=patience):
        if existing_only:
            _require_ids(index, [row[ID] for row in rows])
        merge = index.table.merge_insert(ID).when_matched_update_all().when_not_matched_insert_all()
        done = merge.execute(data)
    return Change(done.version, added=done.num_inserted_rows, replaced=done.num_updated_rows)


def with_known(entries: Sequence[Mapping[str, Any]], known: Mapping[str, Floats], new: Iterable[Floats]) -> Floats:
    """Return the vectors [n, d] of entries: those `known` by id, and `new` ones for the others, in their order."""
    rest = iter(new)
    return np.stack([known[entry[ID]] if entry[ID] in known else next(rest) for entry in entries])


def delete(index: LanceIndex, *, ids: Sequence[str] = (), where: str | None = None, patience: float = 0.0) -> Change:
    """Delete the entries of `ids` that are there, or those that fulfil a filter; without any, no version is made.

    Raises UsageError unless one of the two is given, ConfigError for a filter that is not one.
    """
    from lancedb.expr import col

    if bool(ids) == (where is not None):
        raise UsageError("give the ids of the entries to delete, or a filter (where), and not both")
    with writing(index, patience=patience):
        if where is None:
            condition = col(ID).isin(list(ids)).to_sql()
        else:
            condition = planned_filter(index.table, where, [ID, TEXT, *index.columns])
        found = index.table.count_rows(condition)
        if found:
            index.table.delete(condition)
    return Change(index.version, deleted=found)


def compact(index: LanceIndex, *, keep_days: float, patience: float = 0.0) -> Change:
    """Merge small files, update the vector index, and delete the files of versions that are older than `keep_days`."""
    older = max(timedelta(days=keep_days), timedelta(milliseconds=1))
    with writing(index, patience=patience):
        make_vector_index(index.table)
        # A file that is deleted must not be in the manifest, also if this process is killed before it writes the new one.
        write_json(index.folder / MANIFEST, {"files": {HEADER: _facts(index.folder / HEADER)}})
        # Only one process writes, so a file that no version uses is of a killed write.
        index.table.optimize(cleanup_older_than=older, delete_unverified=True)
    return Change(index.version)


def rollback(index: LanceIndex, version: int, *, patience: float = 0.0) -> Change:
    """Make the entries of an earlier version the newest version. Raises ConfigError for a version that is not there."""
    numbers = [row["version"] for row in versions(index)]
    if version not in numbers:
        raise ConfigError(
            f"{index.folder}: has no version {version}; it has {', '.join(map(str, numbers[:20]))}"
            f"{' and more' if len(numbers) > 20 else ''}"
        )
    with writing(index, patience=patience):
        index.table.restore(version)
    return Change(index.version)


def versions(index: LanceIndex) -> list[dict[str, Any]]:
    """Return number, time and number of entries of each version that is kept, the newest first."""
    with engine_errors(index.folder):
        rows = index.table.list_versions()
    found = [
        {
            "version": row["version"],
            "time": row["timestamp"].isoformat(sep=" ", timespec="seconds"),
            "entries": int(row["metadata"]["total_rows"]),
        }
        for row in rows
    ]
    return sorted(found, key=lambda row: -row["version"])


@contextmanager
def writing(index: LanceIndex, *, patience: float) -> Iterator[None]:
    """Context manager for one write: holds the lock, then puts the new files on the disk and into the manifest."""
    from filelock import FileLock, Timeout

    lock = FileLock(index.folder / LOCK)
    with engine_errors(index.folder):
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            raise ResourceError(
                f"{index.folder}: another process is writing here; try again when it is done"
            ) from None
        try:
            yield
            _record(index.folder)
        finally:
            lock.release()


def _record(folder: Path) -> None:
    """Sync the files of a write, and add them to the manifest."""
    listed = dict(read_json(folder / MANIFEST)["files"])
    files = sorted(file for file in (folder / f"{TABLE}.lance").rglob("*") if file.is_file() and file.name != HINT)
    new = [file for file in files if file.relative_to(folder).as_posix() not in listed]
    for file in new:
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
        listed[file.relative_to(folder).as_posix()] = _facts(file)
    for parent in {file.parent for file in new}:
        sync_folder(parent)
    write_json(folder / MANIFEST, {"files": listed})


def _facts(file: Path) -> dict[str, Any]:
    return {"sha256": sha256(file), "bytes": file.stat().st_size}


def _require_ids(index: LanceIndex, ids: Sequence[str]) -> None:
    from lancedb.expr import col

    query = index.table.search().where(col(ID).isin(list(ids))).limit(None).select([ID])
    known = set(query.to_arrow()[ID].to_pylist())
    if missing := [name for name in ids if name not in known]:
        others = f" and {len(missing) - 1} others of these" if len(missing) > 1 else ""
        raise DataError(
            f"{index.folder}: has no entry {shorten(missing[0], 40)}{others}; nothing was written; add new entries with flipkd "
            "index add"
        )
