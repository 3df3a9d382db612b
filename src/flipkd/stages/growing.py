"""A result file that is written block by block under another name, and goes on after a stop."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from flipkd.errors import ArtefactError
from flipkd.files import read_json, resource_errors, write_json


class GrowingFile:
    """`rows` rows that are safely written, `notes` that were written with them; made by `growing`."""

    def __init__(self, handle: BinaryIO, state: Path, identity: Mapping[str, Any]) -> None:
        self._handle, self._state, self._identity = handle, state, identity
        self.rows = 0
        self.notes: dict[str, Any] = {}

    def append(self, text: str, *, rows: int, notes: Mapping[str, Any]) -> None:
        """Add `rows` more rows; once this returns they outlive the process."""
        with resource_errors(self._state):
            self._handle.write(text.encode("utf-8"))
            self._handle.flush()
            os.fsync(self._handle.fileno())
        self.rows, self.notes = self.rows + rows, dict(notes)
        self._write_state()

    def _write_state(self) -> None:
        size = self._handle.tell()
        write_json(self._state, {"identity": self._identity, "rows": self.rows, "bytes": size, "notes": self.notes})

    def go_on(self) -> None:
        """Take up what an earlier process left, if it was writing the same; else begin anew."""
        try:
            left = read_json(self._state)
            same = left["identity"] == json.loads(json.dumps(self._identity))
            whole = os.fstat(self._handle.fileno()).st_size >= left["bytes"]
        except (ArtefactError, KeyError, TypeError):
            same = whole = False
        if same and whole:
            self.rows, self.notes = left["rows"], left["notes"]
        self._handle.truncate(left["bytes"] if same and whole else 0)
        self._handle.seek(0, os.SEEK_END)
        self._write_state()


@contextmanager
def growing(path: str | Path, identity: Mapping[str, Any]) -> Iterator[GrowingFile]:
    """A file that gets its name at the end of the block; until then it is `.NAME.part` beside it, with its state.

    `identity` is all that its content depends on: what a process that was stopped left behind is gone on with only when it
    is the same. Raises ArtefactError when another process writes it, ResourceError when it cannot be written.
    """
    path = Path(path)
    part, state = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.part.json")
    with resource_errors(path):
        handle = open(part, "r+b" if part.exists() else "w+b")  # noqa: SIM115
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtefactError(f"{path}: another process is writing it; wait, or choose another name") from None
        grown = GrowingFile(handle, state, identity)
        grown.go_on()
        yield grown
        with resource_errors(path):
            os.replace(part, path)
            state.unlink()
