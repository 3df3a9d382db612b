"""Ensembles: several fine-tuned models as one teacher; its score is the mean of theirs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.config.teach import MAX_MEMBERS
from flipkd.errors import ArtefactError, ConfigError, shorten
from flipkd.files import read_json, write_json
from flipkd.teachers.teacher import VectorTeacher, fingerprint_of

ENSEMBLE = "ensemble.json"  # in the folder of an ensemble, written after the folders of the members
SHARED = ("kind", "scale", "prompt", "max_length", "dtype")  # equal for all members of an ensemble


def member_folder(folder: str | Path, number: int) -> Path:
    """Folder of the model of member `number`, from 0."""
    return Path(folder) / f"member-{number}"


def members_of(folder: str | Path) -> list[Path]:
    """Folders of the members of an ensemble; empty for a single model. Raises ArtefactError for a damaged file."""
    path = Path(folder) / ENSEMBLE
    if not path.exists():
        return []
    content = read_json(path)
    count = content.get("members") if isinstance(content, dict) else None
    if not isinstance(count, int) or not 1 <= count <= MAX_MEMBERS:
        raise ArtefactError(f"{path}: members is {shorten(count)}; allowed: 1 to {MAX_MEMBERS}")
    return [member_folder(folder, number) for number in range(count)]


def write_members(folder: str | Path, count: int) -> None:
    """Mark `folder`, with `count` complete members, as an ensemble."""
    write_json(Path(folder) / ENSEMBLE, {"members": count})


def ensemble_of(members: Sequence[Any], *, name: str) -> VectorEnsemble | ScoreEnsemble:
    """Combine teachers into one. Raises ConfigError if they differ in kind, scale, prompt, length or dtype."""
    if all(isinstance(member, VectorTeacher) for member in members):
        return VectorEnsemble(members, name=name)
    return ScoreEnsemble(members, name=name)


class _Ensemble:
    def __init__(self, members: Sequence[Any], *, name: str) -> None:
        self.members = list(members)
        descriptions = [member.describe() for member in self.members]
        shared = [{key: description.get(key) for key in SHARED} for description in descriptions]
        if not shared or any(other != shared[0] for other in shared):
            raise ConfigError(
                f"{name}: the members of an ensemble must have the same kind, prompt, max_length and dtype"
            )
        self._description = {"name": name, **shared[0], "members": [member.fingerprint for member in self.members]}
        self.fingerprint = fingerprint_of(self._description)

    @property
    def model(self) -> _Models:
        """Models of the members, if each member wraps one."""
        return _Models([member.model for member in self.members])

    def describe(self) -> dict[str, Any]:
        """Return a description for JSON: the common facts of the members, and their fingerprints."""
        return dict(self._description)


class _Models:
    """Models of the members, with the methods of a sentence-transformers model to save and to count parameters."""

    def __init__(self, models: Sequence[Any]) -> None:
        self.models = list(models)

    def save_pretrained(self, path: str, *, create_model_card: bool = False) -> None:
        """Write all models to folders in `path`, which `load_teacher` can load."""
        for number, model in enumerate(self.models):
            model.save_pretrained(str(member_folder(path, number)), create_model_card=create_model_card)
        write_members(path, len(self.models))

    def parameters(self) -> Iterator[Any]:
        """Iterate over the parameters of all models."""
        for model in self.models:
            yield from model.parameters()


class VectorEnsemble(_Ensemble):
    """VectorTeacher: the concatenated unit vectors of the M members, divided by sqrt(M).

    The dot product of two such vectors of width M d is the mean of the M members' cosines.
    """

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """Compute vectors [n, M d], float32, unit length."""
        vectors = [member.embed(texts, progress=progress) for member in self.members]
        joined: np.ndarray = (np.concatenate(vectors, axis=1) / math.sqrt(len(vectors))).astype(np.float32)
        return joined


class ScoreEnsemble(_Ensemble):
    """ScoreTeacher: the mean score of the members."""

    def score(self, left: Sequence[str], right: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """Compute scores [N], float32, on the scale of the members."""
        scores = np.stack([member.score(left, right, progress=progress) for member in self.members])
        mean: np.ndarray = scores.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean
