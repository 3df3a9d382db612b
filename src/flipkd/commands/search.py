"""index and search: texts embedded once by a small model, the nearest of them judged by the matcher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flipkd.command_config import IndexConfig, SearchConfig
from flipkd.data import read_texts
from flipkd.errors import ArtefactError, ConfigError, ResourceError, UsageError
from flipkd.files import MANIFEST, sha256
from flipkd.index import Index
from flipkd.progress import loading
from flipkd.student.contract import CONTRACT, read_contract
from flipkd.teachers.stored_teacher import TEACHER, StoredTeacher

if TYPE_CHECKING:
    from flipkd.matcher import Matcher

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
RESULT = ("corpus_id", "similarity", "score", "probability", "decision", "truncated")


def index(config: IndexConfig) -> Index:
    """Write an index of a file's texts to `output_dir`, with the columns `keep` beside them.

    The encoder is the folder of a bi-encoder that flipkd teach made, or of a matcher that reads texts apart. Raises
    ResourceError when `output_dir` is there, DataError for a text that is empty, UsageError for a column whose name a
    result has itself, ConfigError for an encoder that gives no vectors of single texts.
    """
    if Path(config.output_dir).exists():
        raise ResourceError(f"{config.output_dir}: exists already; choose another name")
    if taken := sorted({*config.keep} & {"text", *RESULT}):
        raise UsageError(f"--keep {taken[0]}: a result has a field of that name; it cannot be kept under it")
    texts, kept = read_texts(config.texts, column=config.column, keep=config.keep)
    entries = [{"text": text} | {name: values[row] for name, values in kept.items()} for row, text in enumerate(texts)]
    facts = described(config.encoder)  # refuses a folder that is none before the texts are embedded
    loading(config.encoder)
    made = Index(entries, stored_vectors(config.encoder, texts, base_model=config.base_model), encoder=facts)
    made.save(config.output_dir)
    return made


def search(config: SearchConfig) -> list[dict[str, Any]]:
    """The best `top_k` of the `candidates` entries nearest to the query, as `Matcher.search` gives them.

    Raises ArtefactError when the encoder is not the one that made the index.
    """
    found = Index.load(config.index)
    loading(config.matcher)
    from flipkd.matcher import Matcher

    judge = Matcher.from_pretrained(config.matcher, base_model=config.base_model, exact=config.exact)
    encode = encoder_of(found, config.encoder, matcher=judge, base_model=config.base_model)
    vector = encode([config.query])[0]
    return judge.search(config.query, found, vector=vector, top_k=config.top_k, candidates=config.candidates)


def described(folder: str) -> dict[str, Any]:
    """Which model an index's vectors are of: its kind, its folder, and a hash that tells whether it is still the same."""
    path = Path(folder).resolve()
    if (path / TEACHER).exists():
        return {"kind": "teacher", "folder": str(path), "fingerprint": StoredTeacher(path).fingerprint}
    from flipkd.student.contract import matcher_folder

    inside = matcher_folder(path)
    if not (inside / CONTRACT).exists():
        raise ArtefactError(
            f"{folder}: is no folder of flipkd teach or flipkd train; an index needs one as its encoder"
        )
    return {"kind": "matcher", "folder": str(inside), "fingerprint": sha256(inside / MANIFEST)}


def stored_vectors(folder: str, texts: Sequence[str], *, base_model: str | None = None) -> NDArray[np.float32]:
    """Vectors [n, d] of the texts; a teacher keeps them in its store, so that the next index asks for new texts only."""
    if (Path(folder) / TEACHER).exists():
        teacher = StoredTeacher(folder)
        _require_vectors(teacher.kind, folder)
        return teacher.vectors(texts)
    from flipkd.matcher import Matcher

    return _encode_of(Matcher.from_pretrained(folder, base_model=base_model), folder, progress=True)(texts)


def encoder_of(index: Index, folder: str | None, *, matcher: Matcher, base_model: str | None = None) -> Encode:
    """The function that turns queries into vectors as the index has them. Raises ArtefactError for another model.

    `folder` is where the encoder is, if it moved; `matcher` one that is loaded already, in case it is the encoder itself.
    """
    if index.encoder["kind"] == "matcher" and index.encoder["fingerprint"] == matcher.fingerprint:
        return _encode_of(matcher, index.encoder["folder"])
    place = folder or index.encoder["folder"]
    try:
        now = described(place)
    except ArtefactError as error:
        raise ArtefactError(f"{error}; if the index's encoder has moved, say where it is now (--encoder)") from None
    if now["fingerprint"] != index.encoder["fingerprint"]:
        raise ArtefactError(f"{place}: is not the model that made the index; give that one, or make the index anew")
    if now["kind"] == "teacher":
        encode: Encode = StoredTeacher(place).model().embed
        return encode
    from flipkd.matcher import Matcher

    # A base model that has moved is the judge's; another encoder has its own.
    same_base = read_contract(Path(now["folder"])).base_model_hash == matcher.contract.base_model_hash
    return _encode_of(Matcher.from_pretrained(place, base_model=base_model if same_base else None), place)


def _encode_of(matcher: Matcher, folder: str, *, progress: bool = False) -> Encode:
    if matcher.contract.reading == "joint":
        raise ConfigError(
            f"{folder}: reads both texts of a pair together, so it has no vectors of single ones; give the teacher's "
            "folder as encoder, or a matcher trained with reading=separate"
        )
    return lambda texts: matcher.encode(texts, show_progress_bar=progress)


def _require_vectors(kind: str, folder: str) -> None:
    if kind != "bi_encoder":
        raise ConfigError(f"{folder}: its teacher is a {kind}, which gives no vectors; an index needs a bi-encoder")
