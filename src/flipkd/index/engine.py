"""What the engine of an index gets and raises: filters that are planned first, errors of its own, files that are checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flipkd.errors import ArtefactError, ConfigError, FlipkdError, ResourceError, is_failure
from flipkd.files import MANIFEST, check_manifest, read_json, resource_errors
from flipkd.index.filters import check_filter

LOCK = ".lock"
MOST_SAID = 200  # characters of a message of LanceDB
_DENIED = re.compile("Permission denied|Read-only file system")
# What LanceDB adds to a message: its own words, and a place in its Rust code.
_SOURCE = re.compile(r"(^lance error: |^Invalid input, |,? ?/\S+\.rs:\d+(:\d+)?)", re.MULTILINE)


@contextmanager
def engine_errors(folder: Path) -> Iterator[None]:
    """Context manager that turns errors of LanceDB into ResourceError (disk, permission) or ArtefactError."""
    try:
        with resource_errors(folder):
            yield
    except (FlipkdError, MemoryError):
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        if denied := _DENIED.search(str(error)):
            raise ResourceError(
                f"{folder}: cannot be written ({denied[0]}); choose a folder with write permission"
            ) from error
        raise ArtefactError(
            f"{folder}: LanceDB cannot use this index ({said(error)}); restore it from a copy, or build it again"
        ) from error


def said(error: BaseException) -> str:
    """Return the message of an error of LanceDB without the places in its source."""
    text = " ".join(_SOURCE.sub("", str(error)).split()).strip(" .")
    return text if len(text) <= MOST_SAID else text[:MOST_SAID] + "..."


def planned_filter(table: Any, where: str, columns: Collection[str]) -> str:
    """Return a filter that the engine can use. Raises ConfigError for one that it refuses, such as a text for a number."""
    condition = check_filter(where, columns)
    try:
        table.search().where(condition).limit(1).explain_plan()
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"the filter cannot be used: {said(error)}") from None
    return condition


def checked_folder(folder: Path) -> None:
    """Raise ArtefactError for a folder whose files are not those of its manifest.

    A writer takes files off the manifest before it deletes them: a manifest that has changed is read again.
    """
    while True:
        before = _manifest(folder)
        try:
            return check_manifest(folder)
        except ArtefactError:
            if _manifest(folder) == before:
                raise


def _manifest(folder: Path) -> Any:
    return read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else None
