"""Module of sentence-transformers for blocked reading: a Transformer with the mask and the positions of that reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.cross_encoder.modules import LogitScore

from flipkd.exports.transformers_scorer import blocked_inputs
from flipkd.files import read_json


class BlockedTransformer(Transformer):  # type: ignore[misc]  # sentence-transformers has no types here
    """Causal LM whose right text does not attend to the left one; `token_type_ids` are the kinds of the tokens."""

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Compute the logits of a batch from `preprocess`."""
        segment = features.pop("token_type_ids")
        mask, position = blocked_inputs(segment, dtype=self.model.dtype)
        found: dict[str, Any] = super().forward(features, attention_mask=mask, position_ids=position, **kwargs)
        return found


def load_blocked(folder: str | Path, *, device: str | None = None) -> CrossEncoder:
    """Load the CrossEncoder of a matcher with blocked reading; `CrossEncoder(folder)` would refuse its module.

    sentence-transformers imports modules of other packages only with trust_remote_code=True, and the folder has no code.
    """
    path = str(folder)
    modules = [
        BlockedTransformer.load(path, local_files_only=True),
        LogitScore.load(path, subfolder="1_LogitScore", local_files_only=True),
        Dense.load(path, subfolder="2_Dense", local_files_only=True),
    ]
    in_float32 = read_json(Path(folder) / "config_sentence_transformers.json")["keep_in_fp32_modules"]
    return CrossEncoder(
        modules=modules, device=device, activation_fn=torch.nn.Sigmoid(), keep_in_fp32_modules=in_float32
    )
