"""Format `sentence-transformers`: a CrossEncoder of the causal LM, the score of the two label words, and the calibration.

The modules are Transformer, LogitScore (yes minus no at the last token, after padding on the left) and Dense (slope and
intercept of the calibration, computed in float32); the activation is a sigmoid. So `predict` returns P(match).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Dense
from sentence_transformers.cross_encoder.modules import LogitScore
from torch import nn

from flipkd.artefacts import library_errors
from flipkd.device import best_device
from flipkd.evaluate.calibration import Calibration
from flipkd.exports.answer_only import answer_limits, answer_refusal
from flipkd.exports.library_files import TRANSFORMER, write_library_files
from flipkd.exports.pair_tokenizer import (
    caller_normalises,
    normalisation_limits,
    truncation_limits,
    write_pair_tokenizer,
)
from flipkd.exports.record import ExportRecord
from flipkd.exports.source import Source
from flipkd.student.contract import ScoreContract
from flipkd.text import normal_text

BLOCKED = "flipkd.exports.blocked_transformer.BlockedTransformer"
CALIBRATION = "2.linear"
BLOCKED_LIMIT = (
    "blocked reading needs a module of flipkd: load the folder with flipkd.exports.blocked_transformer.load_blocked, or with "
    "CrossEncoder(folder, trust_remote_code=True) where flipkd is installed"
)


def refusal(contract: ScoreContract, config: Any) -> str | None:
    """Return the sentence about what a CrossEncoder cannot compute; None if it computes the score."""
    return answer_refusal(contract)


def write(source: Source, folder: Path) -> list[str]:
    """Write model, tokenizer and modules; return the limits."""
    contract, prompt = source.contract, source.prompt
    blocked = contract.reading == "blocked"
    write_pair_tokenizer(prompt, folder, padding_side="left", segments=blocked)
    model = source.merged_model()
    model.save_pretrained(folder)
    by_caller = caller_normalises(prompt, folder)
    source.options["normalise"] = by_caller
    write_modules(contract, folder, in_float32=[*_head_name(model), CALIBRATION])
    return [
        *([BLOCKED_LIMIT] if blocked else []),
        *answer_limits(contract),
        *truncation_limits(prompt),
        *normalisation_limits(prompt, by_caller=by_caller),
        "the output is the calibrated probability: flipkd_export.json has threshold and review band",
    ]


def _head_name(model: Any) -> list[str]:
    """Return the name of the language model head in the CrossEncoder, where it is a plain linear layer."""
    head = model.get_output_embeddings()
    return [f"0.model.{name}" for name, module in model.named_modules() if module is head and type(head) is nn.Linear]


def write_modules(contract: ScoreContract, folder: Path, *, in_float32: list[str]) -> None:
    """Write the files of sentence-transformers around the saved model; `in_float32`: layers that compute in float32."""
    no, yes = contract.label_ids
    fitted = Calibration.of(contract.calibration)
    score = LogitScore(true_token_id=yes, false_token_id=no)
    calibration = Dense(
        1,
        1,
        activation_function=None,
        init_weight=torch.tensor([[fitted.slope * contract.score["answer"]]], dtype=torch.float32),
        init_bias=torch.tensor([fitted.intercept], dtype=torch.float32),
        module_input_name="scores",
        module_output_name="scores",
    )
    write_library_files(
        folder,
        modules=[score, calibration],
        transformer_class=BLOCKED if contract.reading == "blocked" else TRANSFORMER,
        transformer={
            "transformer_task": "text-generation",
            "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
            "module_output_name": "causal_logits",
        },
        model_type="CrossEncoder",
        settings={
            "prompts": {},
            "default_prompt_name": None,
            "activation_fn": "torch.nn.modules.activation.Sigmoid",
            # In bfloat16 the logits would be rounded before their difference is taken, and the slope too.
            "keep_in_fp32_modules": in_float32,
        },
    )


class CrossEncoderScorer:
    """A CrossEncoder of sentence-transformers; its calibration is undone, so that the scores are those of the matcher."""

    reads_pairs = True
    truncates_each_text = False

    def __init__(self, model: Any, contract: ScoreContract, *, normalise: bool) -> None:
        self.model, self.normalise = model, normalise
        self.calibration = Calibration.of(contract.calibration)

    def token_ids(self, left: Sequence[str], right: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each pair, without padding."""
        found = []
        for pair in self._pairs(left, right):
            features = self.model.preprocess([pair])
            found.append(features["input_ids"][0][features["attention_mask"][0] > 0].tolist())
        return found

    def scores(self, left: Sequence[str], right: Sequence[str]) -> NDArray[np.float32]:
        """Compute scores [N]."""
        pairs = self._pairs(left, right)
        logits = self.model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
        fitted = self.calibration
        return np.asarray((np.asarray(logits, np.float64) - fitted.intercept) / fitted.slope, np.float32)

    def _pairs(self, left: Sequence[str], right: Sequence[str]) -> list[tuple[str, str]]:
        if self.normalise:
            left, right = [normal_text(text) for text in left], [normal_text(text) for text in right]
        return list(zip(left, right, strict=True))


def load(folder: Path, record: ExportRecord, *, base_model: str | None) -> CrossEncoderScorer:
    """Load the folder with sentence-transformers."""
    with library_errors(folder, "sentence-transformers cannot load it"):
        if record.contract.reading == "blocked":
            from flipkd.exports.blocked_transformer import load_blocked

            model = load_blocked(folder, device=best_device())
        else:
            model = CrossEncoder(str(folder), device=best_device(), trust_remote_code=False, local_files_only=True)
    return CrossEncoderScorer(model, record.contract, normalise=bool(record.options.get("normalise")))
