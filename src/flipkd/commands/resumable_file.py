"""Result file written block by block under a temporary name, which resumes after a stop."""

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
BLOCK_BYTES = 2**20  # read at once


class ResumableFile:
    """File with `rows` durable rows and the `notes` written with them; made by `resumable_file`."""

    def __init__(self, descriptor: int, path: Path, state: Path, identity: Mapping[str, Any]) -> None:
        self._descriptor, self._path, self._state, self._identity = descriptor, path, state, identity
        self.rows, self._digest = 0, hashlib.sha256()
        self.notes: dict[str, Any] = {}
        self._resume()

    def append(self, text: str, *, rows: int, notes: Mapping[str, Any]) -> None:
        """Append `rows` rows and sync them to disk. Raises ResourceError."""
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
        """Return the sha256 of the first `size` bytes of the part file."""
        digest = hashlib.sha256()
        with resource_errors(self._path):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            while size > 0 and (block := os.read(self._descriptor, min(size, BLOCK_BYTES))):
                digest.update(block)
                size -= len(block)
        return digest

    def _resume(self) -> None:
        """Resume from the part file of an earlier process when its identity is the same, else start from the beginning."""
        size = 0
        try:
            left = read_json(self._state)
            if left["identity"] == json.loads(json.dumps(self._identity)):
                rows, notes, written = int(left["rows"]), dict(left["notes"]), int(left["bytes"])
                digest = self._digest_of(written)
                if digest.hexdigest() == left["sha256"]:
                    self.rows, self.notes, size, self._digest = rows, notes, written, digest
                else:
                    logger.warning(
                        "%s: the partial file of an earlier run is changed or damaged; starting again", self._path
                    )
        except (ArtefactError, KeyError, TypeError, ValueError):
            pass
        with resource_errors(self._path):
            os.ftruncate(self._descriptor, size)
            os.lseek(self._descriptor, size, os.SEEK_SET)
        self._write_state()


@contextmanager
def resumable_file(path: str | Path, identity: Mapping[str, Any]) -> Iterator[ResumableFile]:
    """Context manager of a file that is renamed to `path` at the end; until then it is `.NAME.part`, with its state file.

    `identity` is all that its content depends on: a part file of a stopped process is resumed only when its identity is the
    same. Raises ArtefactError when another process writes the file, ResourceError when it cannot be written.
    """
    path = Path(path)
    part, state = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.part.json")
    descriptor = _open_part(path, part)
    try:
        grown = ResumableFile(descriptor, path, state, identity)
        try:
            yield grown
        except BaseException:
            if not grown.rows:  # nothing to resume
                part.unlink(missing_ok=True)
                state.unlink(missing_ok=True)
            raise
        with resource_errors(path):
            os.replace(part, path)
            state.unlink()
    finally:
        os.close(descriptor)


def _open_part(path: Path, part: Path) -> int:
    """Open and lock the part file, and return its descriptor; its content is kept until the lock is held."""
    with resource_errors(path):
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with resource_errors(path):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mine = part.exists() and os.path.samestat(os.fstat(descriptor), os.stat(part))
            except BlockingIOError:
                mine = False
        if not mine:  # another process holds the lock, or has just renamed the part file
            raise ArtefactError(f"{path}: another process is writing this file; wait, or choose another output path")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
