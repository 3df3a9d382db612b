"""Writes to an index on a disk that is full at one point after another, in a mount namespace of its own: argv = folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from lance_writer import ROWS, batch, make, vectors

from flipkd.errors import FlipkdError
from flipkd.index import open_index
from flipkd.index.writing import compact, delete, upsert

disk = Path(sys.argv[1]) / "disk"
ballast = disk / "ballast"
WRITES = {
    "upsert": lambda index: upsert(index, batch(1), vectors(ROWS, seed=1)),
    "delete": lambda index: delete(index, ids=["0-1"]),
    "compact": lambda index: compact(index, keep_days=0),
}


def leave(free: int) -> None:
    """Fill the disk but for `free` bytes."""
    ballast.write_bytes(b"")
    found = os.statvfs(disk)
    ballast.write_bytes(b"0" * max(0, found.f_bavail * found.f_frsize - free))


disk.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2000000", "tmpfs", disk], check=True)
make(disk / "index")
outcomes: dict[str, list] = {}
for name, write in WRITES.items():
    outcomes[name] = []
    before = len(open_index(disk / "index"))
    for free in range(0, 200_000, 4096):
        leave(free)
        try:
            write(open_index(disk / "index"))
        except FlipkdError as error:
            outcomes[name].append([error.exit_code, "the disk is full" in str(error)])
            ballast.unlink()
            outcomes[name][-1].append(len(open_index(disk / "index")) - before)  # what is seen of a write that failed
        else:
            break
    ballast.unlink()
    open_index(disk / "index")
print(json.dumps(outcomes))
