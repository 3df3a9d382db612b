"""ScoreStore, a cache of teacher vectors and scores on disk: missing values are computed, damaged files are ignored.

    folder/<first 16 of the fingerprint>/teacher.json                        description of the teacher, for people
                                         part-<entries>-<sha256>.safetensors  keys, values, fingerprint

Each part file is written once, atomically, and named after the sha256 of its bytes; a file with another hash is damaged.
A killed process loses at most the current chunk, and parallel writers lose nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.errors import ArtefactError, DataError, NumbersError, shorten
from flipkd.files import resource_errors, write_json
from flipkd.progress import bar as progress_bar
from flipkd.teachers.keys import pair_key, text_key
from flipkd.teachers.part_file import PARTS, parse_part, write_part
from flipkd.teachers.teacher import ScoreTeacher, VectorTeacher

logger = logging.getLogger(__name__)
CHUNK_SIZE = 1024


class ScoreStore:
    """Cache in `folder` of one teacher's vectors (per text) or scores (per pair), float32.

    `hits` and `misses` count the distinct texts or pairs requested so far that were, or were not, in the cache.
    Raises ResourceError if the folder cannot be read, and before any computation if it cannot be written.

    Examples:
        >>> from flipkd import ScoreStore
        >>> from flipkd.teachers.teacher import load_teacher
        >>> teacher = load_teacher("encoder")
        >>> store = ScoreStore("store", fingerprint=teacher.fingerprint, describe=teacher.describe())
        >>> scores = store.scores(["I lost my card"], ["My card is missing"], teacher, progress=False)
        >>> scores.shape, len(store)
        ((1,), 2)
    """

    def __init__(self, folder: str | Path, *, fingerprint: str, describe: dict[str, Any]) -> None:
        self.folder = Path(folder) / fingerprint[:16]
        self.fingerprint = fingerprint
        self.hits = 0
        self.misses = 0
        self._description = describe
        self._index: dict[bytes, int] = {}
        self._blocks: list[np.ndarray] = []
        self._loaded_parts: set[str] = set()
        self._damaged: list[Path] = []
        self._load_new_parts()
        self._log_contents()

    def __len__(self) -> int:
        """Return the number of texts or pairs in the cache."""
        return len(self._index)

    def vectors(
        self, texts: Sequence[str], teacher: VectorTeacher, *, chunk_size: int = CHUNK_SIZE, progress: bool = True
    ) -> np.ndarray:
        """Vectors [n, d] in the order of `texts`; each distinct text is computed at most once.

        Each chunk of `chunk_size` texts is on disk before the next is computed. Raises NumbersError if the teacher returns
        NaN or infinity (that chunk is not stored), ArtefactError if `teacher` does not have the fingerprint of this store.
        """
        self._check_fingerprint(teacher.fingerprint)
        return self.cached_vectors(texts, teacher.embed, chunk_size=chunk_size, progress=progress)

    def scores(
        self,
        left: Sequence[str],
        right: Sequence[str],
        teacher: VectorTeacher | ScoreTeacher,
        *,
        chunk_size: int = CHUNK_SIZE,
        progress: bool = True,
    ) -> np.ndarray:
        """Scores [N] of the pairs (left_i, right_i); chunks and errors as in `vectors`.

        For a teacher with vectors they are dot products of cached vectors, and no pair is stored.
        """
        self._check_fingerprint(teacher.fingerprint)
        settings: dict[str, Any] = {"chunk_size": chunk_size, "progress": progress}
        if not isinstance(teacher, VectorTeacher):
            return self.cached_scores(left, right, teacher.score, **settings)
        _check_lengths(left, right)
        a, b = (self.cached_vectors(side, teacher.embed, **settings) for side in (left, right))
        products: np.ndarray = np.einsum("nd,nd->n", a, b)
        return products

    def cached_vectors(
        self,
        texts: Sequence[str],
        embed: Callable[[list[str]], np.ndarray],
        *,
        chunk_size: int = CHUNK_SIZE,
        progress: bool = True,
    ) -> np.ndarray:
        """Vectors [n, d] as in `vectors`; `embed`, of this store's teacher, is called for missing texts only."""

        def compute(rows: list[int]) -> np.ndarray:
            return embed([texts[row] for row in rows])

        keys = [text_key(text) for text in texts]
        return self._get(keys, compute, lambda row: shorten(texts[row]), chunk_size, progress)

    def cached_scores(
        self,
        left: Sequence[str],
        right: Sequence[str],
        score: Callable[[list[str], list[str]], np.ndarray],
        *,
        chunk_size: int = CHUNK_SIZE,
        progress: bool = True,
    ) -> np.ndarray:
        """Scores [N] stored per pair; `score`, of this store's teacher, is called for missing pairs only."""
        _check_lengths(left, right)

        def compute(rows: list[int]) -> np.ndarray:
            return score([left[row] for row in rows], [right[row] for row in rows])

        def name(row: int) -> str:
            return f"({shorten(left[row])}, {shorten(right[row])})"

        keys = [pair_key(a, b) for a, b in zip(left, right, strict=True)]
        return self._get(keys, compute, name, chunk_size, progress)

    def known_scores(self, left: Sequence[str], right: Sequence[str]) -> np.ndarray:
        """Cached scores [N] of the pairs, NaN for pairs not in the cache; nothing is computed."""
        positions = [self._index.get(pair_key(a, b)) for a, b in zip(left, right, strict=True)]
        cached = self._matrix() if self._index else np.zeros(0, np.float32)
        return np.array([np.nan if position is None else cached[position] for position in positions], np.float32)

    def _check_fingerprint(self, fingerprint: str) -> None:
        if fingerprint != self.fingerprint:
            raise ArtefactError(
                f"{self.folder}: cache of teacher {self.fingerprint[:16]}, but the given teacher is {fingerprint[:16]}; "
                "open a ScoreStore with the fingerprint of the given teacher"
            )

    def _get(
        self,
        keys: list[bytes],
        compute: Callable[[list[int]], np.ndarray],
        name: Callable[[int], str],
        chunk_size: int,
        progress: bool,
    ) -> np.ndarray:
        """Values of `keys`; missing ones from `compute(rows)`, chunk by chunk. `name(row)` describes a row in errors."""
        self._load_new_parts()
        first = {key: row for row, key in reversed(list(enumerate(keys)))}
        missing = sorted(row for key, row in first.items() if key not in self._index)
        self.hits += len(first) - len(missing)
        self.misses += len(missing)
        logger.info("%s: %d found, %d to compute", self.folder, len(first) - len(missing), len(missing))
        if missing:
            self._prepare()
        with progress_bar(len(missing), "teacher" if progress else None, unit="item") as bar:
            for start in range(0, len(missing), chunk_size):
                rows = missing[start : start + chunk_size]
                self._append([keys[row] for row in rows], self._checked(compute(rows), rows, name))
                bar.update(len(rows))
        if not keys:
            return compute([]).astype(np.float32)
        return self._matrix()[[self._index[key] for key in keys]]

    def _checked(self, values: np.ndarray, rows: list[int], name: Callable[[int], str]) -> np.ndarray:
        values = np.ascontiguousarray(values, dtype=np.float32)
        shape = (len(rows), *(self._blocks[0].shape[1:] if self._blocks else values.shape[1:]))
        if values.shape != shape:
            raise ArtefactError(f"the teacher returned an array of shape {values.shape}, expected {shape}")
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(rows), -1)).all(axis=1))
        if len(bad):
            row = rows[bad[0]]
            raise NumbersError(
                f"the teacher returned NaN or infinity for {len(bad)} of the {len(rows)} texts or pairs of a chunk, "
                f"which was not stored; the first is row {row} (from 0): {name(row)}; "
                "check this input, or load the teacher in float32"
            )
        return values

    def _append(self, keys: list[bytes], values: np.ndarray) -> None:
        self._loaded_parts.add(write_part(self.folder, keys, values, fingerprint=self.fingerprint))
        self._add(keys, values)

    def _add(self, keys: list[bytes], values: np.ndarray) -> None:
        start = sum(len(block) for block in self._blocks)
        self._blocks.append(values)
        self._index.update((key, start + row) for row, key in enumerate(keys))

    def _matrix(self) -> np.ndarray:
        if len(self._blocks) > 1:
            self._blocks = [np.concatenate(self._blocks)]
        return self._blocks[0]

    def _prepare(self) -> None:
        """Check before any computation that the folder is writable, and delete damaged part files."""
        write_json(self.folder / "teacher.json", {"fingerprint": self.fingerprint, **self._description})
        for part in self._damaged:
            part.unlink(missing_ok=True)
        self._damaged = []

    def _load_new_parts(self) -> None:
        """Load the part files that are new since the last call, of earlier runs or of other processes."""
        with resource_errors(self.folder):
            for part in sorted(self.folder.glob(PARTS)):
                if part.name not in self._loaded_parts:
                    self._loaded_parts.add(part.name)
                    self._load(part)

    def _load(self, part: Path) -> None:
        try:
            content = part.read_bytes()
        except FileNotFoundError:  # another process deleted it as damaged
            return
        entries = parse_part(part.name, content, fingerprint=self.fingerprint)
        if entries is None or (self._blocks and entries[1].shape[1:] != self._blocks[0].shape[1:]):
            self._damaged.append(part)
            logger.warning(
                "%s: damaged cache file, its %s entries will be computed again", part, part.name.split("-")[1]
            )
            return
        self._add(*entries)

    def _log_contents(self) -> None:
        others = sum(1 for path in self.folder.parent.glob("*/teacher.json") if path.parent != self.folder)
        if self._index:
            logger.info("%s: %d cached entries", self.folder, len(self._index))
        elif others:
            logger.warning(
                "%s: has no outputs of this teacher (%s), only of others (%d), so all are computed",
                self.folder.parent,
                self.fingerprint[:16],
                others,
            )


def _check_lengths(left: Sequence[str], right: Sequence[str]) -> None:
    if len(left) != len(right):
        raise DataError(f"{len(left)} left texts but {len(right)} right texts; the numbers must be equal")
