"""Scores of one run: their path, writing and reading."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import ArtefactError
from flipkd.files import write_bytes

SCORES_HASH = "scores_sha256"  # key in a result file
HELD_OUT = ("validation", "test")  # the fields of Split


@dataclass(frozen=True)
class Split:
    """Scores of one kind on validation and on test."""

    validation: NDArray[np.float64]
    test: NDArray[np.float64]


def result_path(output_dir: str | Path, data: str, name: str, seed: int) -> Path:
    """Return the path of a run's result file."""
    return Path(output_dir) / "results" / f"{data}-{name}-seed{seed}.json"


def scores_path(result: Path) -> Path:
    """Return the path of the scores of a result file."""
    return result.parents[1] / "scores" / f"{result.stem}.safetensors"


def save_scores(path: Path, scores: Mapping[str, Split]) -> str:
    """Write the scores of validation and test pairs by kind, from which all metrics can be recomputed without a model.

    Returns the sha256 of the file, which the result file stores.
    """
    from safetensors.numpy import save

    tensors = {
        f"{kind}/{name}": np.ascontiguousarray(getattr(split, name), np.float64)
        for kind, split in scores.items()
        for name in HELD_OUT
    }
    content = save(tensors)
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_scores(path: Path, *, sha256: str | None = None) -> dict[str, Split]:
    """Read the scores that `save_scores` wrote. Raises ArtefactError for an incomplete file or another sha256."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = path.read_bytes()
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise ArtefactError(
                f"{path}: sha256 mismatch, the scores are changed or damaged; delete the file and run the same command to "
                "compute them again"
            )
        tensors = load(content)
        kinds = dict.fromkeys(key.rpartition("/")[0] for key in sorted(tensors))
        return {kind: Split(*(tensors[f"{kind}/{name}"] for name in HELD_OUT)) for kind in kinds}
    except (OSError, SafetensorError, KeyError) as error:
        raise ArtefactError(
            f"{path}: not readable ({error}); delete the file and run the same command to compute it again"
        ) from None
