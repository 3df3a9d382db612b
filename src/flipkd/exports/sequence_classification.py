"""Format `sequence-classification`: the body of the model and one score row, yes minus no, in transformers' own class.

Hugging Face pipelines and vLLM take such folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification, AutoTokenizer

from flipkd.artefacts import library_errors
from flipkd.device import best_device
from flipkd.errors import ConfigError
from flipkd.exports.answer_only import answer_limits, answer_refusal, blocked_refusal
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

BATCH = 16
LABEL = "match"


def refusal(contract: ScoreContract, config: Any) -> str | None:
    """Return the sentence about what one linear row over the last token cannot express; None if it expresses the score."""
    if sentence := blocked_refusal(contract):
        return sentence
    if getattr(config, "final_logit_softcapping", None) is not None:
        return (
            "the base model caps its logits (final_logit_softcapping), and a row of differences cannot; export with --to "
            "sentence-transformers or --to merged"
        )
    if _class_of(config) is None:
        return (
            f"transformers has no sequence classification class for the model type {config.model_type}; export with --to "
            "sentence-transformers or --to merged"
        )
    return answer_refusal(contract)


def write(source: Source, folder: Path) -> list[str]:
    """Write model and tokenizer; return the limits."""
    write_pair_tokenizer(source.prompt, folder)
    model = source.merged_model()
    row = difference_row(model, source.contract.label_ids, weight=source.contract.score["answer"])
    config = model.config
    config.num_labels, config.id2label, config.label2id = 1, {0: LABEL}, {LABEL: 0}
    config.pad_token_id = source.prompt.padding_id  # the class reads the last token that is not padding
    cls = _class_of(config)
    with torch.device("meta"):
        classifier: Any = cls(config)
    setattr(classifier, classifier.base_model_prefix, model.get_decoder())
    classifier.score = nn.Linear(row.shape[0], 1, bias=False, dtype=row.dtype)
    with torch.no_grad():
        classifier.score.weight.copy_(row[None])
    config.architectures = [cls.__name__]
    classifier.save_pretrained(folder)
    by_caller = caller_normalises(source.prompt, folder)
    source.options["normalise"] = by_caller
    contract, prompt = source.contract, source.prompt
    return [
        *answer_limits(contract),
        *truncation_limits(prompt),
        *normalisation_limits(prompt, by_caller=by_caller),
        "the output is the uncalibrated score: flipkd_export.json has calibration, threshold and review band",
    ]


def difference_row(model: Any, label_ids: tuple[int, int], *, weight: float) -> torch.Tensor:
    """Return the row [hidden] of yes minus no, times `weight`, in the model's dtype.

    Raises ConfigError for a head with another bias for each word.
    """
    head = model.get_output_embeddings()
    no, yes = label_ids
    bias = getattr(head, "bias", None)
    if bias is not None and float(bias[yes]) != float(bias[no]):
        raise ConfigError(
            "sequence-classification: the language model head has a bias for each word, and the class of transformers has none; "
            "export with --to sentence-transformers or --to merged"
        )
    rows = head.weight.detach()[[no, yes]].float()
    row: torch.Tensor = (weight * (rows[1] - rows[0])).to(head.weight.dtype)
    return row


def _class_of(config: Any) -> Any:
    """Return transformers' sequence classification class of a configuration; None without one with a row `score`."""
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return None
    cls = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    with torch.device("meta"):
        head = getattr(cls(config), "score", None)
    return cls if isinstance(head, nn.Linear) and head.bias is None else None


class PairClassifier:
    """A classifier and a tokenizer of transformers."""

    reads_pairs = True
    truncates_each_text = False

    def __init__(self, model: Any, tokenizer: Any, *, normalise: bool) -> None:
        self.model, self.tokenizer, self.normalise = model.eval().to(best_device()), tokenizer, normalise

    def token_ids(self, left: Sequence[str], right: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each pair."""
        found: list[list[int]] = self._encode(left, right)["input_ids"]
        return found

    @torch.inference_mode()
    def scores(self, left: Sequence[str], right: Sequence[str]) -> NDArray[np.float32]:
        """Compute scores [N]."""
        parts = [np.zeros(0, np.float32)]
        for start in range(0, len(left), BATCH):
            window = slice(start, start + BATCH)
            batch = self._encode(left[window], right[window], padding=True, return_tensors="pt")
            logits = self.model(**batch.to(self.model.device)).logits
            parts.append(logits[:, 0].float().cpu().numpy())
        return np.concatenate(parts)

    def _encode(self, left: Sequence[str], right: Sequence[str], **settings: Any) -> Any:
        if self.normalise:
            left, right = [normal_text(text) for text in left], [normal_text(text) for text in right]
        return self.tokenizer(list(left), list(right), truncation=True, **settings)


def load(folder: Path, record: ExportRecord, *, base_model: str | None) -> PairClassifier:
    """Load classifier and tokenizer with the Auto classes of transformers."""
    with library_errors(folder, "transformers cannot load it"):
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return PairClassifier(model, tokenizer, normalise=bool(record.options.get("normalise")))
