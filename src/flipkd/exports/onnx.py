"""Format `onnx`: the body of the language model and the rows of its two label words, for onnxruntime and tokenizers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flipkd.errors import ResourceError
from flipkd.exports.answer_only import answer_limits, answer_refusal, blocked_refusal
from flipkd.exports.pair_tokenizer import normalisation_limits, write_pair_tokenizer
from flipkd.exports.record import ExportRecord
from flipkd.exports.source import Source
from flipkd.student.contract import ScoreContract
from flipkd.student.rows import PADDING, pad

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"
ONE_FILE = 2**30  # bytes of weights up to which model.onnx holds them; protobuf ends at 2**31
QUANTISED = ["MatMul", "Gather"]  # linear layers and the table of embeddings; the two label rows stay float32
BATCH = 16


def refusal(contract: ScoreContract, config: Any) -> str | None:
    """Return the sentence for a score that is not the answer alone, and for blocked reading."""
    return blocked_refusal(contract) or answer_refusal(contract)


def write(source: Source, folder: Path) -> list[str]:
    """Write model.onnx and the pair tokenizer; return the limits. With dtype int8 the weights have 8 bits."""
    write_pair_tokenizer(source.prompt, folder)
    model = _LabelLogits(replace(source, dtype="float32").merged_model(), source.prompt.label_ids).eval()
    if source.dtype == "int8":
        with TemporaryDirectory(dir=folder) as scratch:
            _write_graph(model, source, Path(scratch) / MODEL)
            _quantise(Path(scratch) / MODEL, folder / MODEL)
    else:
        _write_graph(model, source, folder / MODEL)
    return [*answer_limits(source.contract), *normalisation_limits(source.prompt, by_caller=False)]


class _LabelLogits(nn.Module):
    """Logits [N, 2] of the label words no and yes after the last real token of rows that are padded on the right."""

    def __init__(self, model: Any, label_ids: tuple[int, int]) -> None:
        super().__init__()
        self.body = model.get_decoder()
        self.body.config._attn_implementation = "sdpa"  # flipkd's own attention cannot be traced
        head, labels = model.get_output_embeddings(), list(label_ids)
        bias = getattr(head, "bias", None)
        self.rows = nn.Parameter(head.weight[labels].detach().clone(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias[labels].detach().clone(), requires_grad=False)
        self.softcap = getattr(model.config, "final_logit_softcapping", None)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute the logits; input_ids and attention_mask: int64 [N, T]."""
        hidden = self.body(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        last = attention_mask.sum(1) - 1
        states = hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]
        logits = nn.functional.linear(states, self.rows, self.bias)
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


def _write_graph(model: nn.Module, source: Source, file: Path) -> None:
    """Write `model` with dynamic batch and length, by torch's exporter."""
    # An example that is padded and has both axes above 1; its shapes are not in the graph.
    rows = source.prompt.pair_rows(["a b", "c"], ["d", "e f g"])
    batch = pad(rows, padding_id=source.prompt.padding_id)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            model,
            (batch["input_ids"], (batch["segment"] != PADDING).long()),
            dynamo=True,
            verbose=False,
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        )
    if program is None:
        raise ResourceError("torch.onnx.export returned nothing; use torch 2.10 or newer")
    size = sum(parameter.nbytes for parameter in model.parameters())
    program.save(str(file), external_data=size > ONE_FILE)


def _quantise(source: Path, target: Path) -> None:
    """Write a version with weights of 8 bits; its layers round their inputs as they run."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=QUANTISED,
            use_external_data_format=source.with_name(f"{MODEL}.data").exists(),
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Context manager that hides warnings of the two libraries about their own code."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def load(folder: Path, record: ExportRecord, *, base_model: str | None) -> OnnxScorer:
    """Load the model with onnxruntime on the CPU."""
    return OnnxScorer(folder, record.contract)


class OnnxScorer:
    """An export as a user runs it: onnxruntime and tokenizers, without torch and transformers."""

    reads_pairs = True
    truncates_each_text = True

    def __init__(self, folder: Path, contract: ScoreContract) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        self.contract = contract
        self.tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self.tokenizer.encode_special_tokens = True  # a control token that is spelled out in a text is text
        self.session = onnxruntime.InferenceSession(str(folder / MODEL), providers=["CPUExecutionProvider"])

    def token_ids(self, left: Sequence[str], right: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each pair; each text is truncated alone."""
        sides = [self.tokenizer.encode_batch(list(side), add_special_tokens=False) for side in (left, right)]
        for encoding in (*sides[0], *sides[1]):
            encoding.truncate(self.contract.max_text_length)
        return [self.tokenizer.post_process(a, b).ids for a, b in zip(*sides, strict=True)]

    def scores(self, left: Sequence[str], right: Sequence[str]) -> NDArray[np.float32]:
        """Compute scores [N]."""
        logits = self._logits(self.token_ids(left, right))
        return self.contract.score["answer"] * (logits[:, 1] - logits[:, 0])

    def _logits(self, rows: Sequence[list[int]]) -> NDArray[np.float32]:
        """Compute logits [N, 2] in batches of rows of similar length."""
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        logits = np.empty((len(rows), 2), np.float32)
        for start in range(0, len(rows), BATCH):
            chosen = order[start : start + BATCH]
            lengths = np.array([len(rows[index]) for index in chosen])
            mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
            ids = np.zeros_like(mask)  # any token is right for padding
            for number, index in enumerate(chosen):
                ids[number, : lengths[number]] = rows[index]
            logits[chosen] = self.session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
        return logits
