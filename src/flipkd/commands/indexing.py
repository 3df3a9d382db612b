"""index build, add, update, delete, list, versions, compact and rollback."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flipkd.command_config import (
    IndexAddConfig,
    IndexCompactConfig,
    IndexConfig,
    IndexDeleteConfig,
    IndexListConfig,
    IndexRollbackConfig,
    IndexVersionsConfig,
)
from flipkd.commands.search import checked_encoder, described, stored_vectors
from flipkd.data.records import read_texts
from flipkd.errors import ArtefactError, ConfigError, DataError, ResourceError, UsageError
from flipkd.extras import require_extra
from flipkd.index import Index, open_index, writing
from flipkd.index.columns import RESULT, check_columns, content_id, converted, guessed_type
from flipkd.index.lance import APPROXIMATE_FROM, LanceIndex
from flipkd.index.writing import Change
from flipkd.progress import loading

logger = logging.getLogger(__name__)
PATIENCE = 10.0  # seconds to wait for another process that writes


def build(config: IndexConfig) -> Index | LanceIndex:
    """Write an index of a file's texts and of its columns `keep` to `output_dir`.

    The encoder is the folder of a bi-encoder that flipkd teach made, or of a matcher that keeps one or encodes texts
    separately. Raises ResourceError when `output_dir` exists, DataError for an empty text or a repeated id, UsageError for
    a column with the name of a result field, ConfigError for an encoder that has no vectors of single texts.
    """
    if Path(config.output_dir).exists():
        raise ResourceError(f"{config.output_dir}: exists already; choose another name")
    if taken := sorted({*config.keep} & {"text", *RESULT}):
        raise UsageError(f"--keep {taken[0]}: a result has a field of that name; rename the column in the file")
    if config.engine == "memory":
        return _build_in_memory(config)
    require_extra("index", user="--engine lancedb")
    return _build_with_lancedb(config)


def _build_in_memory(config: IndexConfig) -> Index:
    if config.id is not None or config.types:
        option = "types" if config.id is None else "id"
        raise ConfigError(f"--{option} is for --engine lancedb; an index in memory has neither ids nor types")
    texts, kept = read_texts(config.texts, column=config.text, keep=config.keep)
    entries = [{"text": text} | {name: values[row] for name, values in kept.items()} for row, text in enumerate(texts)]
    description = described(config.encoder)  # raises for a wrong folder before the texts are embedded
    loading(config.encoder)
    result = Index(entries, stored_vectors(config.encoder, texts, base_model=config.base_model), encoder=description)
    result.save(config.output_dir)
    return result


def _build_with_lancedb(config: IndexConfig) -> LanceIndex:
    source = {"column": config.text, "id_column": config.id}
    texts, kept = _read(config.texts, source, config.keep)
    ids = kept.pop(config.id, None) if config.id else None
    if unknown := sorted(config.types.keys() - kept.keys()):
        raise UsageError(f"--types {unknown[0]}: this column is not kept; name it in --keep as well")
    types = {name: config.types.get(name) or guessed_type(values) for name, values in kept.items()}
    check_columns(types)
    entries = _entries(texts, ids, kept, types)
    description = described(config.encoder)
    loading(config.encoder)
    vectors = stored_vectors(config.encoder, [entry["text"] for entry in entries], base_model=config.base_model)
    return LanceIndex.create(config.output_dir, entries, vectors, encoder=description, columns=types, source=source)


def add(config: IndexAddConfig, *, existing_only: bool = False) -> tuple[Change, int]:
    """Write the entries of a file to an index; return what changed, and the number of texts that were embedded.

    An entry whose id is there is replaced; with `existing_only` all must be there. An entry with the text that it has had
    keeps its vector. Raises ArtefactError when the encoder is not the one that made the index.
    """
    index = open_writable(config.index)
    location = checked_encoder(index, config.encoder)
    given = {"column": config.text, "id_column": config.id}
    source = index.source | {name: value for name, value in given.items() if value is not None}
    texts, kept = _read(config.texts, source, list(index.columns))
    ids = kept.pop(source["id_column"], None) if source.get("id_column") else None
    entries = _entries(texts, ids, kept, index.columns)
    known = index.known_vectors(entries)
    new = [entry["text"] for entry in entries if entry["id"] not in known]
    if new:
        loading(location)
    vectors = writing.with_known(
        entries, known, stored_vectors(location, new, base_model=config.base_model) if new else ()
    )
    change = writing.upsert(index, entries, vectors, existing_only=existing_only, patience=PATIENCE)
    if (scanned := index.scanned) >= APPROXIMATE_FROM:
        logger.warning("%s: every search compares %d entries; run flipkd index compact", config.index, scanned)
    return change, len(new)


def delete(config: IndexDeleteConfig) -> Change:
    """Delete entries by id or by a filter."""
    return writing.delete(open_writable(config.index), ids=config.ids, where=config.where, patience=PATIENCE)


def list_entries(config: IndexListConfig) -> list[dict[str, Any]]:
    """Return entries of an index, the oldest first."""
    return open_writable(config.index).entries(where=config.where, limit=config.limit)


def versions(config: IndexVersionsConfig) -> list[dict[str, Any]]:
    """Return the versions of an index, the newest first."""
    return writing.versions(open_writable(config.index))


def compact(config: IndexCompactConfig) -> Change:
    """Merge the files of an index, update its vector index and delete old versions."""
    return writing.compact(open_writable(config.index), keep_days=config.keep_days, patience=PATIENCE)


def rollback(config: IndexRollbackConfig) -> Change:
    """Make the entries of an earlier version the newest version."""
    return writing.rollback(open_writable(config.index), config.version, patience=PATIENCE)


def open_writable(folder: str) -> LanceIndex:
    """Open an index of LanceDB. Raises ArtefactError for an index in memory."""
    index = open_index(folder)
    if isinstance(index, Index):
        raise ArtefactError(
            f"{folder}: is an index in memory, which has no ids and never changes; build one with flipkd index build --engine "
            "lancedb"
        )
    return index


def _read(file: str, source: Mapping[str, Any], keep: Sequence[str]) -> tuple[list[str], dict[str, list[Any]]]:
    """Read texts and kept columns of a file; the column of the ids is among them."""
    names = [*keep, source["id_column"]] if source.get("id_column") else keep
    return read_texts(file, column=source.get("column"), keep=names)


def _entries(
    texts: Sequence[str], ids: Sequence[Any] | None, kept: Mapping[str, Sequence[Any]], types: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Make entries in the types of the index; without ids, rows that are the same are one entry."""
    rows = [{"text": text} | {name: values[row] for name, values in kept.items()} for row, text in enumerate(texts)]
    entries = [converted(row, types) for row in rows]
    if ids is not None:
        if None in ids:
            raise DataError(f"row {ids.index(None) + 1}: the id is missing; every row needs one")
        return [{"id": str(name)} | entry for name, entry in zip(ids, entries, strict=True)]
    found = {content_id(entry): entry for entry in entries}
    if len(found) < len(entries):
        logger.warning("%d rows are copies of other rows and are written once", len(entries) - len(found))
    return [{"id": name} | entry for name, entry in found.items()]
