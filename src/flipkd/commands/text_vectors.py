"""Vectors of texts by the model that the user names: a teacher folder, a matcher that keeps its teacher, or any encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache as cache_calls
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flipkd.commands.matcher_teacher import is_matcher, kept_teacher_of
from flipkd.errors import ConfigError
from flipkd.progress import loading
from flipkd.student.contract import matcher_folder, read_contract
from flipkd.teachers.store import ScoreStore
from flipkd.teachers.stored_teacher import TEACHER, StoredTeacher
from flipkd.teachers.teacher import load_teacher

BI_ENCODER = "bi_encoder"


def require_vectors(encoder: str) -> None:
    """Raise ConfigError, before any file is read, for a folder of flipkd whose model has no vectors of single texts."""
    folder = Path(encoder)
    if (folder / TEACHER).exists():
        StoredTeacher(folder).require_vectors()
    elif is_matcher(folder):
        kept = read_contract(matcher_folder(folder)).teacher
        if kept is None or kept.kind != BI_ENCODER:
            raise ConfigError(
                f"{encoder}: this matcher keeps no bi-encoder, whose vectors are needed here; give the teacher's folder or a model "
                "of sentence-transformers as --encoder, or train with --keep_teacher true"
            )


def text_vectors(encoder: str, texts: Sequence[str], *, store: Path) -> NDArray[np.float32]:
    """Compute unit vectors [n, d] of the texts; known ones are read from the teacher's folder, or else from `store`."""
    require_vectors(encoder)
    folder = Path(encoder)
    loading(f"the teacher of {encoder}" if is_matcher(folder) else encoder)
    if (folder / TEACHER).exists():
        return StoredTeacher(folder).vectors(texts)
    if is_matcher(folder):
        kept, load = read_contract(matcher_folder(folder)).teacher, kept_teacher_of(folder)
        if kept is not None and load is not None:
            known = ScoreStore(store, fingerprint=kept.fingerprint, describe={"name": encoder, "kind": kept.kind})
            model = cache_calls(load)  # loaded only when a text is missing
            return known.cached_vectors(texts, lambda missing: model().embed(missing))
    teacher = load_teacher(encoder)
    known = ScoreStore(store, fingerprint=teacher.fingerprint, describe=teacher.describe())
    return known.cached_vectors(texts, teacher.embed)  # type: ignore[union-attr]
