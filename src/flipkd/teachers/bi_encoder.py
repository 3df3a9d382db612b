"""BiEncoderTeacher, a SentenceTransformer as teacher: one unit vector per text, scores are cosines."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.artefacts import library_errors
from flipkd.extras import require_extra
from flipkd.teachers.teacher import NOT_RUN, default_prompt, describe_model, fingerprint_of, load_model

logger = logging.getLogger(__name__)


def load_bi_encoder(
    name_or_path: str | Path,
    *,
    max_length: int | None = None,
    prompt: str | None = None,
    dtype: str = "float32",
    device: str | None = None,
    batch_size: int = 32,
) -> BiEncoderTeacher:
    """Load a SentenceTransformer as teacher; arguments and errors as in `load_teacher`."""
    require_extra("train", user=f"the teacher {name_or_path}")
    from sentence_transformers import SentenceTransformer

    if Path(name_or_path).is_dir() and not (Path(name_or_path) / "modules.json").exists():
        logger.warning(
            "%s: has no modules.json, so it was not trained for vectors of texts; the mean of its token vectors is used",
            name_or_path,
        )
    model = load_model(SentenceTransformer, name_or_path, max_length=max_length, dtype=dtype, device=device)
    return BiEncoderTeacher(model, name=str(name_or_path), prompt=prompt, batch_size=batch_size)


class BiEncoderTeacher:
    """VectorTeacher that wraps a loaded SentenceTransformer; `prompt`: None is the model's default, "" no prompt."""

    def __init__(self, model: Any, *, name: str, prompt: str | None = None, batch_size: int = 32) -> None:
        self.model = model
        self.prompt = default_prompt(model) if prompt is None else prompt
        self.batch_size = batch_size
        self._description = describe_model(model, kind="bi_encoder", name=name, prompt=self.prompt, scale="cosine")
        self.fingerprint = fingerprint_of(self._description)

    def describe(self) -> dict[str, Any]:
        """Return a description for JSON; scale "cosine"."""
        return dict(self._description)

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """Compute vectors [n, d], float32, unit length; NaN for a vector of length 0."""
        if not texts:
            return np.zeros((0, self.model.get_embedding_dimension()), dtype=np.float32)
        with library_errors(self._description["name"], NOT_RUN):
            vectors = self.model.encode(
                list(texts), prompt=self.prompt, batch_size=self.batch_size, show_progress_bar=progress
            ).astype(np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit
