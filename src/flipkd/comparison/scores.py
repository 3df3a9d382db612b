"""The scores of one run: where they are kept, how they are written and read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import ArtefactError
from flipkd.files import write_bytes

SCORES_HASH = "scores_sha256"  # in a result file


@dataclass(frozen=True)
class Split:
    """Scores of one kind on validation and on test."""

    validation: NDArray[np.float64]
    test: NDArray[np.float64]


def result_path(output_dir: str | Path, data: str, name: str, seed: int) -> Path:
    """Path of the result of a run."""
    return Path(output_dir) / "results" / f"{data}-{name}-seed{seed}.json"


def scores_path(result: Path) -> Path:
    """Path of the scores that belong to a result file."""
    return result.parents[1] / "scores" / f"{result.stem}.safetensors"


def save_scores(path: Path, scores: Mapping[str, Split]) -> str:
    """Write the scores of validation and test pairs by kind, so that any figure can be made again without a model.

    Returns the file's sha256, which the result of the unit keeps.
    """
    from safetensors.numpy import save

    tensors = {
        f"{kind}/{name}": np.ascontiguousarray(getattr(split, name), np.float64)
        for kind, split in scores.items()
        for name in ("validation", "test")
    }
    content = save(tensors)
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_scores(path: Path, *, sha256: str | None = None) -> dict[str, Split]:
    """The scores that `save_scores` wrote. Raises ArtefactError for a file that is not whole, or has another sha256."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = path.read_bytes()
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise ArtefactError(
                f"{path}: sha256 mismatch, the scores were changed or damaged after they were saved; delete the file, and "
                "the same command computes them anew"
            )
        tensors = load(content)
        kinds = dict.fromkeys(key.rpartition("/")[0] for key in sorted(tensors))
        return {kind: Split(tensors[f"{kind}/validation"], tensors[f"{kind}/test"]) for kind in kinds}
    except (OSError, SafetensorError, KeyError) as error:
        raise ArtefactError(f"{path}: not readable ({error}); delete it, and it is computed anew") from None
