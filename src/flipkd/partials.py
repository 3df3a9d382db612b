"""Temporary names of unfinished files and folders: locked while their process lives, deleted after it ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

TEMPORARY = ".partial-"  # prefix of every temporary name
GENERATED = re.compile(re.escape(TEMPORARY) + "[0-9a-f]{8}-.+")


def new_partial(path: Path, make: Callable[[Path], object]) -> tuple[Path, int]:
    """Create a temporary path beside `path` with `make`; return it and a descriptor that holds its lock until closed.

    The lock ends with its process.
    """
    while True:
        temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{path.name}")
        make(temporary)
        try:
            descriptor = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:  # another process deleted it as stale before the lock
            continue
        if _lock(descriptor) is not False and temporary.exists():
            return temporary, descriptor
        os.close(descriptor)


def clear_stale(folder: Path) -> None:
    """Delete temporary files and folders of ended processes in `folder`; without locks in the file system delete nothing."""
    for path in folder.glob(f"{TEMPORARY}*"):
        if not GENERATED.fullmatch(path.name):
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if _lock(descriptor):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    with contextlib.suppress(OSError):
                        path.unlink()
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Try to lock without waiting: True when locked, False when another process holds it, None without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
