"""Work on an index of LanceDB in a process of its own, which may be killed: argv = folder, kind of work, and perhaps `again`.

With `again` each line on stdin starts a process that works, forked from this one: importing LanceDB takes seconds.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from flipkd.index.lance import LanceIndex
from flipkd.index.writing import compact, delete, upsert

ROWS, WIDTH = 8, 16
COLUMNS = {"batch": "int"}


def vectors(count: int, *, seed: int, width: int = WIDTH) -> np.ndarray:
    """Random unit vectors [count, width]."""
    found = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def batch(number: int) -> list[dict]:
    """The entries of one write."""
    return [{"id": f"{number}-{row}", "text": f"text {row} of {number}", "batch": number} for row in range(ROWS)]


def make(folder: Path, *, number: int = 0) -> LanceIndex:
    """An index that holds one batch."""
    return LanceIndex.create(
        folder, batch(number), vectors(ROWS, seed=number), encoder={"kind": "none"}, columns=COLUMNS
    )


def work(folder: str, kind: str) -> None:
    """Write batch after batch until killed; a line for each when it is done."""
    index = LanceIndex.open(folder)
    for number in range(1, 10_000):
        upsert(index, batch(number), vectors(ROWS, seed=number))
        if kind == "add":
            sys.stdout.write(f"+{number}\n")
        elif number % 2:
            delete(index, where=f"batch = {number}")
            sys.stdout.write(f"-{number}\n")
        else:
            sys.stdout.write(f"+{number}\n")
            compact(index, keep_days=0)
        sys.stdout.flush()


def work_again(folder: str, kind: str) -> None:
    """Begin to work in a new process for each line on stdin; it writes its id first, and `end` follows its end."""
    import lancedb  # noqa: F401

    for _ in sys.stdin:
        if not (process := os.fork()):
            sys.stdout.write(f"{os.getpid()}\n")
            work(folder, kind)
        os.waitpid(process, 0)
        sys.stdout.write("end\n")
        sys.stdout.flush()


if __name__ == "__main__":
    (work_again if sys.argv[3:] == ["again"] else work)(*sys.argv[1:3])
