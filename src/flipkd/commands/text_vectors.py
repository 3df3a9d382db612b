"""Vectors of texts by the model that the user names: a teacher folder, a matcher, or any encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache as cache_calls
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flipkd.commands.matcher_teacher import is_matcher, kept_teacher_of
from flipkd.errors import ConfigError
from flipkd.files import MANIFEST, sha256
from flipkd.progress import loading
from flipkd.student.contract import matcher_folder, read_contract
from flipkd.teachers.store import ScoreStore
from flipkd.teachers.stored_teacher import TEACHER, StoredTeacher
from flipkd.teachers.teacher import load_teacher


def require_vectors(encoder: str) -> None:
    """Raise ConfigError, before any file is read, for a folder of flipkd whose model has no vectors of single texts."""
    folder = Path(encoder)
    if (folder / TEACHER).exists():
        StoredTeacher(folder).require_vectors()
    elif is_matcher(folder):
        contract = read_contract(matcher_folder(folder))
        if contract.reading == "joint" and not contract.keeps_bi_encoder:
            raise ConfigError(
                f"{encoder}: this matcher encodes both texts together and keeps no bi-encoder, so it has no vectors of single "
                "texts; give the teacher's folder or a model of sentence-transformers as --encoder, or train with "
                "--keep_teacher true"
            )


def text_vectors(
    encoder: str, texts: Sequence[str], *, store: Path, base_model: str | None = None
) -> NDArray[np.float32]:
    """Compute unit vectors [n, d] of the texts; known ones are read from the teacher's folder, or else from `store`.

    Those of a matcher are by the bi-encoder that it keeps, or else its own.
    """
    require_vectors(encoder)
    folder = Path(encoder)
    if (folder / TEACHER).exists():
        loading(encoder)
        return StoredTeacher(folder).vectors(texts)
    if is_matcher(folder):
        return _matcher_vectors(folder, texts, store=store, base_model=base_model)
    loading(encoder)
    teacher = load_teacher(encoder)
    known = ScoreStore(store, fingerprint=teacher.fingerprint, describe=teacher.describe())
    return known.cached_vectors(texts, teacher.embed)  # type: ignore[union-attr]


def _matcher_vectors(
    folder: Path, texts: Sequence[str], *, store: Path, base_model: str | None
) -> NDArray[np.float32]:
    contract, load = read_contract(matcher_folder(folder)), kept_teacher_of(folder)
    kept = contract.teacher
    if kept is not None and load is not None and contract.keeps_bi_encoder:
        loading(f"the teacher of {folder}")
        known = ScoreStore(store, fingerprint=kept.fingerprint, describe={"name": str(folder), "kind": kept.kind})
        model = cache_calls(load)  # loaded only when a text is missing
        return known.cached_vectors(texts, lambda missing: model().embed(missing))
    loading(folder)
    from flipkd.matcher import Matcher

    matcher = cache_calls(lambda: Matcher.from_pretrained(folder, base_model=base_model))
    fingerprint = sha256(matcher_folder(folder) / MANIFEST)
    known = ScoreStore(store, fingerprint=fingerprint, describe={"name": str(folder), "kind": "matcher"})
    return known.cached_vectors(texts, lambda missing: matcher().encode(missing, show_progress_bar=True))
