"""A result file that is written block by block under another name, and goes on after a stop."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flipkd.errors import ArtefactError
from flipkd.files import read_json, resource_errors, write_json

logger = logging.getLogger(__name__)
BLOCK = 2**20  # bytes read at once


class ResumableFile:
    """`rows` rows that are safely written, `notes` that were written with them; made by `resumable_file`."""

    def __init__(self, descriptor: int, path: Path, state: Path, identity: Mapping[str, Any]) -> None:
        self._descriptor, self._path, self._state, self._identity = descriptor, path, state, identity
        self.rows, self._digest = 0, hashlib.sha256()
        self.notes: dict[str, Any] = {}
        self._take_up()

    def append(self, text: str, *, rows: int, notes: Mapping[str, Any]) -> None:
        """Add `rows` more rows; once this returns they outlive the process. Raises ResourceError."""
        with resource_errors(self._path):
            left = memoryview(text.encode("utf-8"))
            self._digest.update(left)
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        self.rows, self.notes = self.rows + rows, dict(notes)
        self._write_state()

    def _write_state(self) -> None:
        with resource_errors(self._path):
            size = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            state = {"identity": self._identity, "rows": self.rows, "bytes": size, "sha256": self._digest.hexdigest()}
            write_json(self._state, state | {"notes": self.notes})

    def _digest_of(self, size: int) -> Any:
        """The sha256 of the part's first `size` bytes."""
        digest = hashlib.sha256()
        with resource_errors(self._path):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            while size > 0 and (block := os.read(self._descriptor, min(size, BLOCK))):
                digest.update(block)
                size -= len(block)
        return digest

    def _take_up(self) -> None:
        """Go on with what an earlier process left, if it was writing the same; else begin anew."""
        size = 0
        try:
            left = read_json(self._state)
            if left["identity"] == json.loads(json.dumps(self._identity)):
                rows, notes, written = int(left["rows"]), dict(left["notes"]), int(left["bytes"])
                digest = self._digest_of(written)
                if digest.hexdigest() == left["sha256"]:
                    self.rows, self.notes, size, self._digest = rows, notes, written, digest
                else:
                    logger.warning("%s: what an earlier run left was changed or damaged; it begins anew", self._path)
        except (ArtefactError, KeyError, TypeError, ValueError):
            pass
        with resource_errors(self._path):
            os.ftruncate(self._descriptor, size)
            os.lseek(self._descriptor, size, os.SEEK_SET)
        self._write_state()


@contextmanager
def resumable_file(path: str | Path, identity: Mapping[str, Any]) -> Iterator[ResumableFile]:
    """A file that gets its name at the end of the block; until then it is `.NAME.part` beside it, with its state.

    `identity` is all that its content depends on: what a process that was stopped left behind is gone on with only when it
    is the same. Raises ArtefactError when another process writes it, ResourceError when it cannot be written.
    """
    path = Path(path)
    part, state = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.part.json")
    descriptor = _opened(path, part)
    try:
        grown = ResumableFile(descriptor, path, state, identity)
        try:
            yield grown
        except BaseException:
            if not grown.rows:  # nothing to go on with
                part.unlink(missing_ok=True)
                state.unlink(missing_ok=True)
            raise
        with resource_errors(path):
            os.replace(part, path)
            state.unlink()
    finally:
        os.close(descriptor)


def _opened(path: Path, part: Path) -> int:
    """A descriptor of the part, which no other process writes. What is there stays until it is ours."""
    with resource_errors(path):
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with resource_errors(path):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mine = part.exists() and os.path.samestat(os.fstat(descriptor), os.stat(part))
            except BlockingIOError:
                mine = False
        if not mine:  # another holds it, or has just given the file its name
            raise ArtefactError(f"{path}: another process is writing it; wait, or choose another name")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
