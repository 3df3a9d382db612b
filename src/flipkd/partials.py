"""Files and folders under a temporary name until they are whole: locked while their process lives, cleared once it is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

TEMPORARY = ".partial-"
MADE_HERE = re.compile(re.escape(TEMPORARY) + "[0-9a-f]{8}-.+")


def new_partial(path: Path, make: Callable[[Path], object]) -> tuple[Path, int]:
    """A temporary path beside `path`, made by `make`, and a descriptor that holds its lock until it is closed.

    The lock goes with its process, however that ends.
    """
    while True:
        temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{path.name}")
        make(temporary)
        try:
            descriptor = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:  # taken for a stale one before it was locked
            continue
        if _lock(descriptor) is not False and temporary.exists():
            return temporary, descriptor
        os.close(descriptor)


def clear_stale(folder: Path) -> None:
    """Remove what killed processes left in `folder`; what another one writes stays, as all does where nothing can be locked."""
    for left in folder.glob(f"{TEMPORARY}*"):
        if not MADE_HERE.fullmatch(left.name):
            continue
        try:
            descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if _lock(descriptor):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    with contextlib.suppress(OSError):
                        left.unlink()
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Whether the lock was free, and is held now; None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
