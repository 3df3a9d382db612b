"""Control experiment: a teacher folder in which the outputs of texts are shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.commands.pairs import content_hash
from flipkd.comparison.entries import short_hash
from flipkd.comparison.processes import shared_folder
from flipkd.files import write_json
from flipkd.teachers.store import ScoreStore
from flipkd.teachers.stored_teacher import TEACHER, StoredTeacher
from flipkd.teachers.teacher import fingerprint_of


def shuffled(folder: str | Path, sets: Sequence[Any], *, seed: int) -> Path:
    """Return the folder of a teacher that gives each text the vector of another text, or each pair the score of another pair.

    The permutation depends on `seed` only. The folder is next to that of the real teacher and is made once.
    """
    teacher = StoredTeacher(folder)
    origin = {"of": teacher.fingerprint, "pairs": [content_hash(dataset) for dataset in sets], "seed": seed}
    target = Path(folder).with_name(f"{Path(folder).name}-shuffled-{short_hash(origin)}")
    with shared_folder(target):
        if not (target / TEACHER).exists():
            _make(target, teacher, sets, origin)
    return target


def _make(target: Path, teacher: StoredTeacher, sets: Sequence[Any], origin: dict[str, Any]) -> None:
    left, right = ([text for dataset in sets for text in dataset[side][:]] for side in ("text1", "text2"))
    describe = teacher.describe() | {"shuffled": origin}
    fingerprint = fingerprint_of(describe)
    store, seed = ScoreStore(target / "store", fingerprint=fingerprint, describe=describe), origin["seed"]
    if teacher.kind == "bi_encoder":
        texts = list(dict.fromkeys([*left, *right]))
        vectors = dict(zip(texts, derange(teacher.vectors(texts), seed=seed), strict=True))
        store.cached_vectors(texts, lambda missing: np.array([vectors[text] for text in missing], np.float32))
    else:
        given = np.concatenate([teacher.signal(dataset).pair_scores() for dataset in sets])
        known = dict(zip(zip(left, right, strict=True), given, strict=True))
        values = derange(np.array(list(known.values()), np.float32), seed=seed)
        scores = dict(zip(known, values, strict=True))
        pairs = [a for a, _ in known], [b for _, b in known]
        store.cached_scores(
            *pairs, lambda a, b: np.array([scores[pair] for pair in zip(a, b, strict=True)], np.float32)
        )
    # Last, because this file marks the folder as complete.
    write_json(target / TEACHER, {"fingerprint": fingerprint, "teacher": describe, "max_length": teacher.max_length})


def derange(values: NDArray[np.float32], *, seed: int) -> NDArray[np.float32]:
    """Return the values [n, ...] permuted without a fixed point, for n >= 2."""
    order = np.random.default_rng(seed).permutation(len(values))
    found = np.empty_like(values)
    found[order] = values[np.roll(order, 1)]
    return found
