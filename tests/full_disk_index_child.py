"""Writes to an index on a disk that is full at one point after another: argv = folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lance_writer import ROWS, batch, make, vectors
from small_disk import SmallDisk

from flipkd.errors import FlipkdError
from flipkd.index import open_index
from flipkd.index.writing import compact, delete, upsert

WRITES = {
    "upsert": lambda index: upsert(index, batch(1), vectors(ROWS, seed=1)),
    "delete": lambda index: delete(index, ids=["0-1"]),
    "compact": lambda index: compact(index, keep_days=0),
}

disk = SmallDisk(Path(sys.argv[1]) / "disk", 2_000_000)
folder = disk.folder / "index"
make(folder)
outcomes: dict[str, list] = {}
for name, write in WRITES.items():
    outcomes[name] = []
    before = len(open_index(folder))
    for free in range(0, 200_000, 4096):
        disk.leave(free)
        try:
            write(open_index(folder))
        except FlipkdError as error:
            outcomes[name].append([error.exit_code, "the disk is full" in str(error)])
            disk.ballast.unlink()
            outcomes[name][-1].append(len(open_index(folder)) - before)  # what is seen of a write that failed
        else:
            break
    disk.ballast.unlink()
    open_index(folder)
print(json.dumps(outcomes))
