"""ScoreStore, a cache of teacher vectors and scores on disk: misses are computed, damaged parts are dropped.

    folder/<first 16 of the fingerprint>/teacher.json                        what the teacher is, for people
                                         part-<entries>-<sha256>.safetensors  keys, values, fingerprint

A part is written once, whole, and named after the sha256 of its bytes; a part whose bytes say otherwise is dropped.
So a kill loses at most the chunk in work, and processes that write side by side lose nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from flipkd.errors import ArtefactError, DataError, NumbersError, shorten
from flipkd.files import resource_errors, write_bytes, write_json
from flipkd.progress import bar as progress_bar
from flipkd.teachers.teacher import ScoreTeacher, VectorTeacher

logger = logging.getLogger(__name__)
KEY_BYTES = 32


def text_key(text: str) -> bytes:
    """The 32 bytes a text is stored under: sha256 of its length and its UTF-8 bytes, as they are (NFC is not NFD)."""
    return hashlib.sha256(_prefixed(text)).digest()


def pair_key(left: str, right: str) -> bytes:
    """The 32 bytes a pair is stored under; lengths stand before the texts, so that ("ab", "c") is not ("a", "bc")."""
    return hashlib.sha256(_prefixed(left) + _prefixed(right)).digest()


def _prefixed(text: str) -> bytes:
    content = text.encode("utf-8", "surrogatepass")
    return len(content).to_bytes(8, "little") + content


class ScoreStore:
    """Cache of one teacher's vectors (per text) or scores (per pair), float32, in `folder`.

    `hits` and `misses` count the distinct texts or pairs asked for so far that were, or were not, in the cache.
    Raises ResourceError when the folder cannot be read, and before any computing when it cannot be written.

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
        self._describe = describe
        self._index: dict[bytes, int] = {}
        self._blocks: list[np.ndarray] = []
        self._seen: set[str] = set()
        self._damaged: list[Path] = []
        self._refresh()
        self._tell_what_is_there()

    def __len__(self) -> int:
        """Number of texts or pairs in the cache."""
        return len(self._index)

    def vectors(
        self, texts: Sequence[str], teacher: VectorTeacher, *, chunk_size: int = 1024, progress: bool = True
    ) -> np.ndarray:
        """Vectors [n, d] in the order of `texts`, each different text computed at most once.

        Every `chunk_size` texts are on disk before the next are computed. Raises NumbersError when the teacher gives
        NaN or infinity (that chunk is not stored), ArtefactError when `teacher` is not the one of this store.
        """

        def compute(rows: list[int]) -> np.ndarray:
            return teacher.embed([texts[row] for row in rows])

        def name(row: int) -> str:
            return shorten(texts[row])

        self._same(teacher.fingerprint)
        return self._get([text_key(text) for text in texts], compute, name, chunk_size, progress)

    def scores(
        self,
        left: Sequence[str],
        right: Sequence[str],
        teacher: VectorTeacher | ScoreTeacher,
        *,
        chunk_size: int = 1024,
        progress: bool = True,
    ) -> np.ndarray:
        """Scores [N] of the pairs (left_i, right_i), computed and raising as in `vectors`.

        For a teacher with vectors these are dot products of stored vectors, so that no pair is stored.
        """
        if len(left) != len(right):
            raise DataError(f"{len(left)} left texts but {len(right)} right texts")
        if isinstance(teacher, VectorTeacher):
            a, b = (self.vectors(side, teacher, chunk_size=chunk_size, progress=progress) for side in (left, right))
            products: np.ndarray = np.einsum("nd,nd->n", a, b)
            return products
        scorer = teacher

        def compute(rows: list[int]) -> np.ndarray:
            return scorer.score([left[row] for row in rows], [right[row] for row in rows])

        def name(row: int) -> str:
            return f"({shorten(left[row])}, {shorten(right[row])})"

        self._same(teacher.fingerprint)
        keys = [pair_key(a, b) for a, b in zip(left, right, strict=True)]
        return self._get(keys, compute, name, chunk_size, progress)

    def known_scores(self, left: Sequence[str], right: Sequence[str]) -> np.ndarray:
        """Scores [N] of the pairs as they are stored, NaN for those that are not; nothing is computed."""
        places = [self._index.get(pair_key(a, b)) for a, b in zip(left, right, strict=True)]
        stored = self._matrix() if self._index else np.zeros(0, np.float32)
        return np.array([np.nan if place is None else stored[place] for place in places], np.float32)

    def _same(self, fingerprint: str) -> None:
        if fingerprint != self.fingerprint:
            raise ArtefactError(
                f"{self.folder}: belongs to teacher {self.fingerprint[:16]}, now {fingerprint[:16]} asks; "
                "open a store with the fingerprint of the one that asks"
            )

    def _get(
        self,
        keys: list[bytes],
        compute: Callable[[list[int]], np.ndarray],
        name: Callable[[int], str],
        chunk_size: int,
        progress: bool,
    ) -> np.ndarray:
        """The values of `keys`, misses computed through `compute(rows)` chunk by chunk; `name` says what a row is."""
        self._refresh()
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
            raise ArtefactError(f"the teacher gave an array of shape {values.shape} where {shape} was due")
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(rows), -1)).all(axis=1))
        if len(bad):
            row = rows[bad[0]]
            raise NumbersError(
                f"the teacher gave NaN or infinity for {len(bad)} of the {len(rows)} texts or pairs of a chunk, "
                f"which was not stored; first is row {row} (from 0): {name(row)}; "
                "look at this input, or load the teacher in float32"
            )
        return values

    def _append(self, keys: list[bytes], values: np.ndarray) -> None:
        content = save(
            {
                "keys": np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), KEY_BYTES),
                "values": values,
                "fingerprint": np.frombuffer(self.fingerprint.encode(), dtype=np.uint8),
            }
        )
        name = f"part-{len(keys)}-{hashlib.sha256(content).hexdigest()}.safetensors"
        write_bytes(self.folder / name, content)
        self._seen.add(name)
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
        """Prove that the folder can be written, before any scoring; damaged parts make room."""
        write_json(self.folder / "teacher.json", {"fingerprint": self.fingerprint, **self._describe})
        for part in self._damaged:
            part.unlink(missing_ok=True)
        self._damaged = []

    def _refresh(self) -> None:
        """Take in the parts that this process has not seen yet: its own of earlier runs and those of others."""
        with resource_errors(self.folder):
            for part in sorted(self.folder.glob("part-*.safetensors")):
                if part.name not in self._seen:
                    self._seen.add(part.name)
                    self._take_in(part)

    def _take_in(self, part: Path) -> None:
        try:
            content = part.read_bytes()
        except FileNotFoundError:  # another process dropped it as damaged
            return
        entries = self._parsed(part.name, content)
        if entries is None:
            self._damaged.append(part)
            logger.warning("%s: damaged, %s entries dropped, will be recomputed", part, part.name.split("-")[1])
            return
        self._add(*entries)

    def _parsed(self, name: str, content: bytes) -> tuple[list[bytes], np.ndarray] | None:
        """Keys and values of a part, or None unless every byte is as it was written, for this teacher."""
        if hashlib.sha256(content).hexdigest() != name.removesuffix(".safetensors").rpartition("-")[2]:
            return None
        try:
            tensors = load(content)
            keys, values, owner = tensors["keys"], tensors["values"], tensors["fingerprint"].tobytes()
        except (SafetensorError, KeyError):
            return None
        width = self._blocks[0].shape[1:] if self._blocks else values.shape[1:]
        if owner != self.fingerprint.encode() or len(keys) != len(values) or values.shape[1:] != width:
            return None
        return [key.tobytes() for key in keys], values

    def _tell_what_is_there(self) -> None:
        others = sum(1 for path in self.folder.parent.glob("*/teacher.json") if path.parent != self.folder)
        if self._index:
            logger.info("%s: resumed, %d cached", self.folder, len(self._index))
        elif others:
            logger.warning(
                "%s: holds %d other teacher(s), none is %s: 0 reused",
                self.folder.parent,
                others,
                self.fingerprint[:16],
            )
