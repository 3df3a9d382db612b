"""Pairs of a file for flipkd match: checked before a model is loaded, and stored, so that the file is read once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import IO

from flipkd.data.pairs import PairBlock, read_blocks
from flipkd.errors import DataError
from flipkd.text import is_empty

SHOWN_ROWS = 5


class StoredPairs:
    """The checked pairs of a file, stored block by block in another file."""

    def __init__(self, file: IO[str], pairs_file: str, *, columns: dict[str, str] | None, keep: Sequence[str]) -> None:
        self._file, self.count = file, 0
        empty = list[int]()
        for block in read_blocks(pairs_file, columns=columns, keep=keep):
            pairs = enumerate(zip(block.left, block.right, strict=True), self.count + 1)
            empty += [number for number, pair in pairs if any(map(is_empty, pair))]
            self.count += len(block.left)
            if not empty:
                self._file.write(json.dumps(asdict(block)) + "\n")
        if empty:
            shown = ", ".join(map(str, empty[:SHOWN_ROWS])) + (", ..." if len(empty) > SHOWN_ROWS else "")
            raise DataError(f"{pairs_file}: {len(empty)} rows have an empty text (row {shown}); fill or remove them")

    def blocks(self) -> Iterator[PairBlock]:
        """Iterate over the blocks."""
        self._file.seek(0)
        for line in self._file:
            yield PairBlock(**json.loads(line))


@contextmanager
def stored_pairs(pairs_file: str, *, columns: dict[str, str] | None, keep: Sequence[str]) -> Iterator[StoredPairs]:
    """Context manager that checks the pairs of a file and stores them in a temporary file.

    Raises DataError with the rows that have an empty text, and as `read_blocks` does.
    """
    with tempfile.TemporaryFile("w+", encoding="ascii") as file:
        yield StoredPairs(file, pairs_file, columns=columns, keep=keep)
