"""The scores of one run: where they are kept, how they are written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import ArtefactError
from flipkd.files import write_bytes


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


def save_scores(path: Path, scores: Mapping[str, Split]) -> None:
    """Write the scores of validation and test pairs by kind, so that any figure can be made again without a model."""
    from safetensors.numpy import save

    tensors = {
        f"{kind}/{name}": np.ascontiguousarray(getattr(split, name), np.float64)
        for kind, split in scores.items()
        for name in ("validation", "test")
    }
    write_bytes(path, save(tensors))


def read_scores(path: Path) -> dict[str, Split]:
    """The scores that `save_scores` wrote. Raises ArtefactError for a file that is not whole."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        kinds = dict.fromkeys(key.rpartition("/")[0] for key in sorted(tensors))
        return {kind: Split(tensors[f"{kind}/validation"], tensors[f"{kind}/test"]) for kind in kinds}
    except (OSError, SafetensorError, KeyError) as error:
        raise ArtefactError(f"{path}: not readable ({error}); delete it, and it is computed anew") from None
