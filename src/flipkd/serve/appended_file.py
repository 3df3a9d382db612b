"""AppendedFile: a log of complete lines that is rotated by size and that several processes may share."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

LAST_BLOCK = 2**16  # bytes that are searched at once for the end of the last complete line


class AppendedFile:
    """`append` adds lines to `path`; a file of more than `most_bytes` is renamed to `path.1`, which becomes `path.2`, and so on.

    A line that a killed process or a full disk left incomplete is cut off, so that each line is complete. Nothing is synced to
    the disk: a crash of the machine may lose the last seconds.
    """

    def __init__(self, path: Path, *, most_bytes: int, most_files: int) -> None:
        self.path, self._most_bytes, self._most_files = path, most_bytes, most_files

    def append(self, lines: bytes) -> None:
        """Append lines, all or none. Raises OSError."""
        with self.locked():
            self._rotate(len(lines))
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                end = _end_of_last_line(descriptor)
                os.ftruncate(descriptor, end)
                _write_all(descriptor, lines, end)
            finally:
                os.close(descriptor)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Context manager in which no other process writes or renames; the lock ends with its process."""
        descriptor = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _rotate(self, more: int) -> None:
        size = self.path.stat().st_size if self.path.exists() else 0
        if size == 0 or size + more <= self._most_bytes:
            return
        for number in range(self._most_files - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                os.replace(older, self._numbered(number + 1))
        os.replace(self.path, self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _end_of_last_line(descriptor: int) -> int:
    """Return the position after the last line break."""
    size = os.fstat(descriptor).st_size
    while size > 0:
        begin = max(0, size - LAST_BLOCK)
        found = os.pread(descriptor, size - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        size = begin
    return 0


def _write_all(descriptor: int, content: bytes, position: int) -> None:
    """Write at a position; when the disk is full, remove the part that was written."""
    try:
        left, at = memoryview(content), position
        while left:
            written = os.pwrite(descriptor, left, at)
            left, at = left[written:], at + written
    except OSError:
        os.ftruncate(descriptor, position)
        raise
