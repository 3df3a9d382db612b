"""Several fine-tunings of one small model as one teacher, whose score is the mean of theirs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.config import MAX_MEMBERS
from flipkd.errors import ArtefactError, ConfigError, shorten
from flipkd.files import read_json, write_json
from flipkd.teachers.teacher import VectorTeacher, fingerprint_of

ENSEMBLE = "ensemble.json"  # in the folder of an ensemble, written last; beside it a folder per member
SHARED = ("kind", "scale", "prompt", "max_length", "dtype")  # by all members of one ensemble


def member_folder(folder: str | Path, number: int) -> Path:
    """Where the model of member `number`, counted from 0, is kept."""
    return Path(folder) / f"member-{number}"


def members_of(folder: str | Path) -> list[Path]:
    """The members' folders of an ensemble; none for the folder of a single model. Raises ArtefactError."""
    path = Path(folder) / ENSEMBLE
    if not path.exists():
        return []
    content = read_json(path)
    count = content.get("members") if isinstance(content, dict) else None
    if not isinstance(count, int) or not 1 <= count <= MAX_MEMBERS:
        raise ArtefactError(f"{path}: says that there are {shorten(count)} members; allowed: 1 to {MAX_MEMBERS}")
    return [member_folder(folder, number) for number in range(count)]


def write_members(folder: str | Path, count: int) -> None:
    """Say that `count` members are complete in `folder`, which from now on is loaded as one teacher."""
    write_json(Path(folder) / ENSEMBLE, {"members": count})


def ensemble_of(members: Sequence[Any], *, name: str) -> VectorEnsemble | ScoreEnsemble:
    """One teacher of several. Raises ConfigError for members that do not read and score alike."""
    if all(isinstance(member, VectorTeacher) for member in members):
        return VectorEnsemble(members, name=name)
    return ScoreEnsemble(members, name=name)


class _Ensemble:
    def __init__(self, members: Sequence[Any], *, name: str) -> None:
        self.members = list(members)
        own = [member.describe() for member in self.members]
        shared = {key: own[0].get(key) for key in SHARED} if own else {}
        if not own or any(description.get(key) != value for description in own for key, value in shared.items()):
            raise ConfigError(
                f"{name}: the members of an ensemble must be of one kind, with the same prompt and length"
            )
        self._description = {"name": name, **shared, "members": [member.fingerprint for member in self.members]}
        self.fingerprint = fingerprint_of(self._description)

    @property
    def model(self) -> _Models:
        """The members' models; for members around one each."""
        return _Models([member.model for member in self.members])

    def describe(self) -> dict[str, Any]:
        """What the teacher is, ready for JSON: what its members have in common, and their fingerprints."""
        return dict(self._description)


class _Models:
    """The members' models as one that is saved and counted as sentence-transformers' are."""

    def __init__(self, models: Sequence[Any]) -> None:
        self.models = list(models)

    def save_pretrained(self, path: str, *, create_model_card: bool = False) -> None:
        """Write all models below `path`, which `load_teacher` takes."""
        for number, model in enumerate(self.models):
            model.save_pretrained(str(member_folder(path, number)), create_model_card=create_model_card)
        write_members(path, len(self.models))

    def parameters(self) -> Iterator[Any]:
        """The parameters of all models."""
        for model in self.models:
            yield from model.parameters()


class VectorEnsemble(_Ensemble):
    """A VectorTeacher: the members' unit vectors side by side over the root of their number.

    The dot product of two such vectors of width M d is the mean of the M members' cosines.
    """

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """Vectors [n, M d], float32, unit length."""
        vectors = [member.embed(texts, progress=progress) for member in self.members]
        beside: np.ndarray = (np.concatenate(vectors, axis=1) / math.sqrt(len(vectors))).astype(np.float32)
        return beside


class ScoreEnsemble(_Ensemble):
    """A ScoreTeacher: the mean of the members' scores."""

    def score(self, left: Sequence[str], right: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """Scores [N], float32, on the members' scale."""
        scores = np.stack([member.score(left, right, progress=progress) for member in self.members])
        mean: np.ndarray = scores.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean
