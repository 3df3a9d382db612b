"""search: the nearest entries of an index, scored by the matcher; and the encoders of indexes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flipkd.command_config import SearchConfig
from flipkd.commands.matcher_teacher import MatcherTeacher, kept_teacher_of
from flipkd.errors import ArtefactError, ConfigError
from flipkd.files import MANIFEST, sha256
from flipkd.index import SearchIndex, open_index
from flipkd.progress import loading
from flipkd.student.contract import CONTRACT, matcher_folder, read_contract
from flipkd.teachers.stored_teacher import TEACHER, StoredTeacher

if TYPE_CHECKING:
    from flipkd.matcher import Matcher

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
KEPT = "kept_teacher"  # kind of an encoder: the bi-encoder that a matcher keeps


def search(config: SearchConfig) -> list[dict[str, Any]]:
    """Return the best `top_k` of the `candidates` entries nearest to the query, as `Matcher.search` does.

    Raises ArtefactError when the encoder is not the one that made the index.
    """
    entries = open_index(config.index)
    loading(config.matcher)
    from flipkd.matcher import Matcher

    matcher = Matcher.from_pretrained(
        config.matcher, base_model=config.base_model, exact=config.exact, cascade=config.cascade
    )
    encode = encoder_of(entries, config.encoder, matcher=matcher, base_model=config.base_model)
    vector = encode([config.query])[0]
    return matcher.search(
        config.query, entries, vector=vector, top_k=config.top_k, candidates=config.candidates, where=config.where
    )


def described(folder: str) -> dict[str, Any]:
    """Describe the encoder of an index: its kind, its folder, and a hash that identifies the model.

    Raises ArtefactError for any other folder.
    """
    path = Path(folder).resolve()
    if (path / TEACHER).exists():
        return {"kind": "teacher", "folder": str(path), "fingerprint": StoredTeacher(path).fingerprint}
    inside = matcher_folder(path)
    if not (inside / CONTRACT).exists():
        raise ArtefactError(
            f"{folder}: not a folder of flipkd teach or flipkd train; give one of these as the encoder; to use another "
            "model, make such a folder from it with flipkd teach --fine_tune false"
        )
    contract = read_contract(inside)
    if contract.reading == "joint" and contract.teacher is not None and contract.keeps_bi_encoder:
        return {"kind": KEPT, "folder": str(inside), "fingerprint": contract.teacher.fingerprint}
    return {"kind": "matcher", "folder": str(inside), "fingerprint": sha256(inside / MANIFEST)}


def stored_vectors(folder: str, texts: Sequence[str], *, base_model: str | None = None) -> NDArray[np.float32]:
    """Compute vectors [n, d] of the texts; those of a teacher are cached, so that the next index embeds only new texts."""
    if (Path(folder) / TEACHER).exists():
        teacher = StoredTeacher(folder)
        teacher.require_vectors()
        return teacher.vectors(texts)
    if described(folder)["kind"] == KEPT:
        return MatcherTeacher(folder, validation=None).vectors(texts)
    from flipkd.matcher import Matcher

    return _encode_function(Matcher.from_pretrained(folder, base_model=base_model), folder, progress=True)(texts)


def encoder_of(index: SearchIndex, folder: str | None, *, matcher: Matcher, base_model: str | None = None) -> Encode:
    """Return the function that encodes queries for the index. Raises ArtefactError for another model.

    `folder`: the encoder's folder, if it was moved. `matcher`: a loaded matcher, which may be the encoder itself, or keep it.
    """
    maker, kept = index.encoder.get("fingerprint"), matcher.teacher
    if index.encoder.get("kind") == "matcher" and maker == matcher.fingerprint:
        return _encode_function(matcher, str(index.encoder.get("folder")))
    if folder is None and kept is not None and kept.fingerprint == maker:
        return kept.embed
    location = checked_encoder(index, folder)
    current = described(location)
    if current["kind"] == "teacher":
        encode: Encode = StoredTeacher(location).model().embed
        return encode
    if current["kind"] == KEPT and (load := kept_teacher_of(location)) is not None:
        return load().embed
    from flipkd.matcher import Matcher

    # base_model is the new location of the matcher's base model; another encoder may have a different one.
    same_base = read_contract(Path(current["folder"])).base_model_hash == matcher.contract.base_model_hash
    return _encode_function(Matcher.from_pretrained(location, base_model=base_model if same_base else None), location)


def checked_encoder(index: SearchIndex, folder: str | None) -> str:
    """Return the folder of the model that made the index. Raises ArtefactError for another model or a lost folder."""
    location = folder or index.encoder.get("folder")
    if not isinstance(location, str):
        raise ArtefactError("the index does not name the folder of its encoder; give it (--encoder)")
    try:
        current = described(location)
    except (ValueError, OSError) as error:  # also a name that is too long or has NUL
        raise ArtefactError(
            f"{str(error)[:400]}; if the encoder of the index was moved, give its folder (--encoder)"
        ) from None
    if current["fingerprint"] != index.encoder.get("fingerprint"):
        raise ArtefactError(
            f"{location}: is not the model that made the index; give that model, or make the index again"
        )
    return location


def _encode_function(matcher: Matcher, folder: str, *, progress: bool = False) -> Encode:
    if matcher.contract.reading == "joint":
        raise ConfigError(
            f"{folder}: this matcher encodes both texts together and keeps no bi-encoder, so it has no vectors of single texts; "
            "give the teacher's folder as encoder, or a matcher trained with keep_teacher=true or reading=separate"
        )
    return lambda texts: matcher.encode(texts, show_progress_bar=progress)
