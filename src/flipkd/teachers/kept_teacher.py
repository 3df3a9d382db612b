"""KeptTeacherModel, the teacher that a matcher keeps in its folder to score new pairs."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import ArtefactError
from flipkd.model_lock import ModelLock
from flipkd.partials import TEMPORARY
from flipkd.teachers.teacher import VectorTeacher, load_teacher

Floats = NDArray[np.float32]
FOLDER = "teacher"  # in a matcher folder
LIMIT = 2**26  # bytes of cached vectors: about 40,000 texts of a small encoder
WINDOW = 8192  # pairs whose vectors are in memory at once
# Longer texts are truncated first, because tokenizer truncation does not bound the work of tokenising.
CHARACTERS_PER_TOKEN = 16
TIMED = 64  # pairs of a time measurement


class KeptTeacherModel:
    """Thread-safe wrapper of a loaded teacher that scores pairs, with an LRU cache of the vectors of texts.

    The scores are those used in training: the cosine of a bi-encoder's vectors, the logit of a cross-encoder.
    """

    def __init__(self, teacher: Any, *, source: Mapping[str, str | None] | None = None, limit: int = LIMIT) -> None:
        """`source`: name and licence of the base model, for the model card; `limit`: size of the cache in bytes."""
        self.teacher, self.limit, self.source = teacher, limit, dict(source or {})
        self._cache: OrderedDict[str, Floats] = OrderedDict()
        self._size = 0
        self._max_length: int | None = teacher.describe().get("max_length")
        self._models = getattr(teacher, "members", [teacher])  # each member of an ensemble has its own batch size
        self._batch_sizes = [getattr(model, "batch_size", None) for model in self._models]
        self._lock = ModelLock()  # a tokenizer stores the truncation of its last batch, so threads must not share it

    @property
    def has_vectors(self) -> bool:
        """Whether it is a bi-encoder, which gives both orders of a pair the same score."""
        return isinstance(self.teacher, VectorTeacher)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the teacher, which an index records for the model that made it."""
        return str(self.teacher.fingerprint)

    @property
    def most_characters(self) -> int:
        """Number of characters at the start of a text on which its score depends."""
        return sys.maxsize if self._max_length is None else self._max_length * CHARACTERS_PER_TOKEN

    @property
    def parameters(self) -> int:
        """Number of parameters of the model."""
        return sum(parameter.numel() for parameter in self.teacher.model.parameters())

    def embed(self, texts: Sequence[str], *, batch_size: int | None = None) -> Floats:
        """Compute unit vectors [n, d] of a bi-encoder; each distinct text is encoded once, in batches of `batch_size`."""
        with self._lock:
            self._set_batch_size(batch_size)
            distinct = list(dict.fromkeys(texts))
            found = {text: self._cache[text] for text in distinct if text in self._cache}
            missing = [text for text in distinct if text not in found]
            if missing or not texts:
                rows = self.teacher.embed(missing)
                found |= {text: row.copy() for text, row in zip(missing, rows, strict=True)}
            for text in distinct:
                self._store(text, found[text])
        return np.stack([found[text] for text in texts]) if texts else rows

    def _set_batch_size(self, batch_size: int | None) -> None:
        for model, default in zip(self._models, self._batch_sizes, strict=True):
            model.batch_size = batch_size or default

    def _store(self, text: str, vector: Floats) -> None:
        if text not in self._cache:
            self._size += vector.nbytes + len(text)
        self._cache[text] = vector
        self._cache.move_to_end(text)
        while self._size > self.limit and self._cache:
            old, row = self._cache.popitem(last=False)
            self._size -= row.nbytes + len(old)

    def scores(
        self,
        left: Sequence[str],
        right: Sequence[str],
        *,
        both_orders: bool = False,
        batch_size: int | None = None,
    ) -> Floats:
        """Compute scores [N]; `both_orders`: the mean of (a, b) and (b, a); `batch_size` None: the teacher's own."""
        if both_orders and not self.has_vectors:
            forward, reverse = (self.scores(*sides, batch_size=batch_size) for sides in ((left, right), (right, left)))
            return np.asarray((forward + reverse) / 2, np.float32)
        left, right = self._truncated(left), self._truncated(right)
        parts = [np.zeros(0, np.float32)]
        for start in range(0, len(left), WINDOW):
            window = slice(start, start + WINDOW)
            parts.append(self._window_scores(left[window], right[window], batch_size))
        return np.concatenate(parts)

    def _truncated(self, texts: Sequence[str]) -> Sequence[str]:
        """Truncate texts far beyond the teacher's token limit: this saves time and memory and changes no score."""
        most = self.most_characters
        return [text if len(text) <= most else text.lstrip()[:most] for text in texts]

    def _window_scores(self, left: Sequence[str], right: Sequence[str], batch_size: int | None) -> Floats:
        if self.has_vectors:
            vectors = self.embed([*left, *right], batch_size=batch_size)
            products: Floats = np.einsum("nd,nd->n", vectors[: len(left)], vectors[len(left) :])
            return products
        with self._lock:
            self._set_batch_size(batch_size)
            logits: Floats = self.teacher.score(left, right)
        return logits

    def seconds_per_pair(self, left: Sequence[str], right: Sequence[str]) -> float:
        """Measure the time per pair on the first TIMED pairs; their texts must not be in the cache."""
        self.scores(["warm"], ["up"])
        start = time.perf_counter()
        self.scores(left[:TIMED], right[:TIMED])
        return (time.perf_counter() - start) / max(len(left[:TIMED]), 1)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the model into a matcher folder; return the facts that `load_kept_teacher` needs."""
        return save_teacher(self.teacher, folder / FOLDER)


def save_teacher(teacher: Any, folder: Path) -> dict[str, Any]:
    """Write a bi-encoder or a cross-encoder as safetensors into `folder` (which the caller makes atomic).

    Returns fingerprint, kind, max_length and prompt, which are needed to get the same scores from the files.
    """
    # A model card would quote users' texts and request the base model from the hub.
    teacher.model.save_pretrained(str(folder), create_model_card=False)
    description = teacher.describe()
    return {"fingerprint": teacher.fingerprint} | {
        name: description[name] for name in ("kind", "max_length", "prompt")
    }


def load_kept_teacher(folder: Path, facts: Mapping[str, Any], *, device: str | None = None) -> KeptTeacherModel:
    """Load the teacher of a matcher folder. Raises ArtefactError if its fingerprint is not the saved one."""
    return KeptTeacherModel(_load_saved(folder / FOLDER, facts, device=device))


def require_saveable(teacher: Any, scratch: Path) -> None:
    """Raise ArtefactError if saving and loading changes the model; uses a temporary folder in `scratch`."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=scratch) as folder:
        _load_saved(Path(folder), save_teacher(teacher, Path(folder)), device=None)


def _load_saved(folder: Path, facts: Mapping[str, Any], *, device: str | None) -> Any:
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: no such folder, but according to matcher.json it contains the teacher")
    teacher = load_teacher(
        folder, kind=facts["kind"], max_length=facts["max_length"], prompt=facts["prompt"], device=device
    )
    if teacher.fingerprint != facts["fingerprint"]:
        raise ArtefactError(
            f"{folder}: the model has the fingerprint {teacher.fingerprint[:16]}, expected {facts['fingerprint'][:16]}; "
            "copy the folder again from its source"
        )
    return teacher
