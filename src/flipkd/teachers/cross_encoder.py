"""CrossEncoderTeacher, a CrossEncoder as teacher: both texts in one sequence, one logit per pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.artefacts import library_errors
from flipkd.errors import ArtefactError
from flipkd.extras import require_extra
from flipkd.teachers.teacher import NOT_RUN, default_prompt, describe_model, fingerprint_of, load_model


def load_cross_encoder(
    name_or_path: str | Path,
    *,
    max_length: int | None = None,
    prompt: str | None = None,
    dtype: str = "float32",
    device: str | None = None,
    batch_size: int = 32,
) -> CrossEncoderTeacher:
    """Load a CrossEncoder with one label as teacher; arguments and errors as in `load_teacher`."""
    require_extra("train", user=f"the teacher {name_or_path}")
    from sentence_transformers import CrossEncoder

    model = load_model(CrossEncoder, name_or_path, max_length=max_length, dtype=dtype, device=device)
    if not has_scoring_head(model):
        # transformers would add a random head, a different one at each load.
        raise ArtefactError(
            f"{name_or_path}: no trained scoring head ({model.config.architectures or []}); fine-tune it as a "
            "cross-encoder first"
        )
    return CrossEncoderTeacher(model, name=str(name_or_path), prompt=prompt, batch_size=batch_size)


def has_scoring_head(model: Any) -> bool:
    """Return whether the files of a loaded CrossEncoder contain a scoring head, so that it is not random."""
    names = model.config.architectures or []
    return getattr(model[0], "transformer_task", "") != "sequence-classification" or any(
        name.endswith("ForSequenceClassification") for name in names
    )


class CrossEncoderTeacher:
    """ScoreTeacher that wraps a loaded CrossEncoder; `prompt`: None is the model's default, "" no prompt.

    Scores are logits, not probabilities: a sigmoid would saturate for all confident pairs. Raises ArtefactError for a
    model with more than one label.
    """

    def __init__(self, model: Any, *, name: str, prompt: str | None = None, batch_size: int = 32) -> None:
        if model.num_labels != 1:
            raise ArtefactError(f"{name}: returns {model.num_labels} numbers per pair; a teacher must return one")
        self.model = model
        self.prompt = default_prompt(model) if prompt is None else prompt
        self.batch_size = batch_size
        self._description = describe_model(model, kind="cross_encoder", name=name, prompt=self.prompt, scale="logit")
        self.fingerprint = fingerprint_of(self._description)

    def describe(self) -> dict[str, Any]:
        """Return a description for JSON; scale "logit"."""
        return dict(self._description)

    def score(self, left: Sequence[str], right: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """Compute logits [N], float32, of the pairs (left_i, right_i)."""
        from torch.nn import Identity

        if not left:
            return np.zeros(0, dtype=np.float32)
        with library_errors(self._description["name"], NOT_RUN):
            scores: np.ndarray = self.model.predict(
                list(zip(left, right, strict=True)),
                prompt=self.prompt,
                batch_size=self.batch_size,
                show_progress_bar=progress,
                activation_fn=Identity(),
            )
        return scores.astype(np.float32)
