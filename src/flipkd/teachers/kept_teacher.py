"""The teacher aboard: the small encoder that a matcher keeps in its folder, and its score of any pair."""

from __future__ import annotations

import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import ArtefactError
from flipkd.partials import TEMPORARY
from flipkd.teachers.teacher import VectorTeacher, load_teacher

Floats = NDArray[np.float32]
FOLDER = "teacher"  # in a matcher folder
LIMIT = 2**26  # bytes of vectors that are kept: about 40,000 texts of a small encoder
WINDOW = 8192  # pairs whose vectors are held at once
CHARACTERS_PER_TOKEN = (
    16  # longer texts are cut before tokenising: truncation by the tokenizer does not bound its work
)
TIMED = 64  # pairs that tell what one costs


class KeptTeacherModel:
    """A loaded teacher that scores pairs; threads may share one. Vectors of texts are kept, the least used leave first.

    Its score is what the stored values of training gave: the cosine of a bi-encoder's vectors, a cross-encoder's logit.
    """

    def __init__(self, teacher: Any, *, source: Mapping[str, str | None] | None = None, limit: int = LIMIT) -> None:
        """`source`: name and licence of what it was made from, for the model card."""
        self.teacher, self.limit, self.source = teacher, limit, dict(source or {})
        self._kept: OrderedDict[str, Floats] = OrderedDict()
        self._size = 0
        self._max_length: int | None = teacher.describe().get("max_length")
        self._readers = getattr(teacher, "members", [teacher])  # of an ensemble each reads by itself
        self._batch_sizes = [getattr(reader, "batch_size", None) for reader in self._readers]
        self._alone = Lock()  # a tokenizer keeps how the last batch was cut, so two threads must not mix

    @property
    def has_vectors(self) -> bool:
        """Whether it is a bi-encoder, whose score is the same in both orders of a pair."""
        return isinstance(self.teacher, VectorTeacher)

    @property
    def parameters(self) -> int:
        """How many numbers the model has."""
        return sum(parameter.numel() for parameter in self.teacher.model.parameters())

    def embed(self, texts: Sequence[str], *, batch_size: int | None = None) -> Floats:
        """Unit vectors [n, d] of a bi-encoder; each different text is encoded once, `batch_size` of them in a pass."""
        with self._alone:
            self._set_batch_size(batch_size)
            wanted = list(dict.fromkeys(texts))
            found = {text: self._kept[text] for text in wanted if text in self._kept}
            missing = [text for text in wanted if text not in found]
            if missing or not texts:
                rows = self.teacher.embed(missing)
                found |= {text: row.copy() for text, row in zip(missing, rows, strict=True)}
            for text in wanted:
                self._keep(text, found[text])
        return np.stack([found[text] for text in texts]) if texts else rows

    def _set_batch_size(self, batch_size: int | None) -> None:
        for reader, own in zip(self._readers, self._batch_sizes, strict=True):
            reader.batch_size = batch_size or own

    def _keep(self, text: str, vector: Floats) -> None:
        if text not in self._kept:
            self._size += vector.nbytes + len(text)
        self._kept[text] = vector
        self._kept.move_to_end(text)
        while self._size > self.limit and self._kept:
            old, row = self._kept.popitem(last=False)
            self._size -= row.nbytes + len(old)

    def scores(
        self,
        left: Sequence[str],
        right: Sequence[str],
        *,
        both_orders: bool = False,
        batch_size: int | None = None,
    ) -> Floats:
        """Scores [N] of the pairs; `both_orders`: the mean of (a, b) and (b, a). batch_size: None is the teacher's own."""
        if both_orders and not self.has_vectors:
            there, back = (self.scores(*sides, batch_size=batch_size) for sides in ((left, right), (right, left)))
            return np.asarray((there + back) / 2, np.float32)
        left, right = self._cut(left), self._cut(right)
        parts = [np.zeros(0, np.float32)]
        for start in range(0, len(left), WINDOW):
            window = slice(start, start + WINDOW)
            parts.append(self._window(left[window], right[window], batch_size))
        return np.concatenate(parts)

    def _cut(self, texts: Sequence[str]) -> Sequence[str]:
        """The texts without what lies far beyond the teacher's limit, which costs time and memory and changes nothing."""
        if self._max_length is None:
            return texts
        most = self._max_length * CHARACTERS_PER_TOKEN
        return [text if len(text) <= most else text.lstrip()[:most] for text in texts]

    def _window(self, left: Sequence[str], right: Sequence[str], batch_size: int | None) -> Floats:
        if self.has_vectors:
            vectors = self.embed([*left, *right], batch_size=batch_size)
            products: Floats = np.einsum("nd,nd->n", vectors[: len(left)], vectors[len(left) :])
            return products
        with self._alone:
            self._set_batch_size(batch_size)
            logits: Floats = self.teacher.score(left, right)
        return logits

    def seconds_per_pair(self, left: Sequence[str], right: Sequence[str]) -> float:
        """Measured on the first of these pairs, whose texts it must not have met."""
        self.scores(["warm"], ["up"])
        start = time.perf_counter()
        self.scores(left[:TIMED], right[:TIMED])
        return (time.perf_counter() - start) / max(len(left[:TIMED]), 1)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the model below a matcher folder; returns what `load_kept_teacher` must be told of it."""
        return save_teacher(self.teacher, folder / FOLDER)


def save_teacher(teacher: Any, folder: Path) -> dict[str, Any]:
    """Write a bi-encoder or a cross-encoder as safetensors into `folder` (which the caller makes atomic).

    Returns its fingerprint, kind, max_length and prompt, without which the files alone do not give the same scores.
    """
    # Its card would quote users' texts and ask the hub for the base model.
    teacher.model.save_pretrained(str(folder), create_model_card=False)
    about = teacher.describe()
    return {"fingerprint": teacher.fingerprint} | {name: about[name] for name in ("kind", "max_length", "prompt")}


def load_kept_teacher(folder: Path, facts: Mapping[str, Any], *, device: str | None = None) -> KeptTeacherModel:
    """The teacher of a matcher folder. Raises ArtefactError when it is not the one that was saved there."""
    return KeptTeacherModel(_read_back(folder / FOLDER, facts, device=device))


def require_saveable(teacher: Any, scratch: Path) -> None:
    """Raise ArtefactError when a model is another one once it was saved and read back; `scratch` is left as it was."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=scratch) as folder:
        _read_back(Path(folder), save_teacher(teacher, Path(folder)), device=None)


def _read_back(folder: Path, facts: Mapping[str, Any], *, device: str | None) -> Any:
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: no such folder, but matcher.json says that a teacher is kept there")
    teacher = load_teacher(
        folder, kind=facts["kind"], max_length=facts["max_length"], prompt=facts["prompt"], device=device
    )
    if teacher.fingerprint != facts["fingerprint"]:
        raise ArtefactError(
            f"{folder}: its model has the fingerprint {teacher.fingerprint[:16]}, but {facts['fingerprint'][:16]} was "
            "saved; take the folder from where it came from once more"
        )
    return teacher
