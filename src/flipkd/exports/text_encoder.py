"""Format `text-encoder`: the readout A x as a SentenceTransformer, made of the modules of sentence-transformers alone.

The input x of the query, key and value projections of a layer is the normalised output of the layers before it. So the model
is cut before that layer and ends with the layer's norm; a mean over the text's tokens, A as a dense layer and a normalisation
follow. The tokenizer removes the prompt that sentence-transformers writes before a text, and its post-processor adds the ids of
the template in its place: so the ids are those of the matcher, whatever the text begins with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Regex, normalizers
from torch import nn

from flipkd.artefacts import library_errors
from flipkd.exports.library_files import write_library_files
from flipkd.exports.pair_tokenizer import normalisation_limits, pair_backend, write_pair_tokenizer
from flipkd.exports.record import ExportRecord
from flipkd.exports.source import Source
from flipkd.files import read_json, write_json
from flipkd.student.adapter import finite_tensors
from flipkd.student.contract import ScoreContract
from flipkd.student.model import READOUT
from flipkd.student.prompt import Prompt
from flipkd.student.readout import LAYER

PROJECTIONS = ("q_proj", "k_proj", "v_proj")
FAMILIES = ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3", "smollm3")
# For some families (Qwen2) AutoTokenizer ignores the rules in tokenizer.json; with the type of another one it reads them.
AS_IN_FILE = {"tokenizer_type": "granite"}


def refusal(contract: ScoreContract, config: Any) -> str | None:
    """Return the sentence for vectors without a meaning, and for a readout that no cut of the model gives."""
    if contract.reading == "joint":
        return (
            "joint reading trains a text only beside another, so the vectors of single texts mean nothing; train with --reading "
            "separate or blocked"
        )
    places = contract.readout_places
    layers, projections = {_layer(place) for place in places}, {place.rsplit(".", 1)[-1] for place in places}
    if len(layers) > 1 or not projections <= set(PROJECTIONS):
        return (
            f"the readout at {', '.join(places)} is not at {', '.join(PROJECTIONS)} of one layer, so no cut of the model gives "
            "it; train with such readout_layers and readout_modules, or use Matcher.encode"
        )
    if config.model_type not in FAMILIES:
        return (
            f"the cut before a layer is not known for the model type {config.model_type}, only for {', '.join(FAMILIES)}; use "
            "Matcher.encode"
        )
    return None


def write(source: Source, folder: Path) -> list[str]:
    """Write the cut model, its tokenizer and the modules; return the limits."""
    contract, prompt = source.contract, source.prompt
    stored = finite_tensors(source.folder / READOUT)
    down = torch.cat([stored[place] for place in contract.readout_places])
    _cut(source.merged_model(), _layer(contract.readout_places[0])).save_pretrained(folder)
    _write_tokenizer(prompt, folder)
    _write_modules(down, _prompt_text(prompt), folder)
    return [
        *normalisation_limits(prompt, by_caller=False),
        "the vectors are those of Matcher.encode: the score, its calibration and its threshold are not exported",
    ]


def _layer(place: str) -> int:
    found = LAYER.search(place)
    return -1 if found is None else int(found.group(1))


def _cut(model: Any, layer: int) -> Any:
    """Return the decoder of the layers before `layer`, with the norm at the input of that layer as its last."""
    decoder = model.get_decoder()
    decoder.norm = decoder.layers[layer].input_layernorm
    decoder.layers = decoder.layers[:layer]
    config = decoder.config
    config.num_hidden_layers = layer
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = config.layer_types[:layer]
    config.architectures = [type(decoder).__name__]
    return decoder


def _prompt_text(prompt: Prompt) -> str:
    """Return the prompt of sentence-transformers; it must not be empty, else the pooling would average the template too."""
    return prompt.template.instruction + prompt.template.left or " "


def _write_tokenizer(prompt: Prompt, folder: Path) -> None:
    write_pair_tokenizer(prompt, folder)
    settings = folder / "tokenizer_config.json"
    write_json(settings, read_json(settings) | {"model_max_length": len(prompt.head) + prompt.max_text_length})
    backend = pair_backend(prompt)
    own = backend.normalizer
    removed = normalizers.Replace(Regex(r"\A" + re.escape(_prompt_text(prompt))), "")
    backend.normalizer = normalizers.Sequence([removed] if own is None else [removed, own])
    backend.save(str(folder / "tokenizer.json"))


def _write_modules(down: torch.Tensor, prompt: str, folder: Path) -> None:
    """Write the files of sentence-transformers around the saved model; down: A [D, inputs]."""
    width, inputs = down.shape
    write_library_files(
        folder,
        modules=[
            Pooling(inputs, pooling_mode="mean", include_prompt=False),
            Dense(inputs, width, bias=False, activation_function=nn.Identity(), init_weight=down),
            Normalize(),
        ],
        transformer={
            "transformer_task": "feature-extraction",
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            "module_output_name": "token_embeddings",
            "processor_kwargs": AS_IN_FILE,
        },
        model_type="SentenceTransformer",
        settings={
            "prompts": {"query": prompt, "document": prompt},
            "default_prompt_name": "query",
            "similarity_fn_name": "cosine",
        },
    )


def load(folder: Path, record: ExportRecord, *, base_model: str | None) -> TextEncoderScorer:
    """Load the folder with sentence-transformers."""
    with library_errors(folder, "sentence-transformers cannot load it"):
        return TextEncoderScorer(SentenceTransformer(str(folder), device="cpu"))


class TextEncoderScorer:
    """A SentenceTransformer; the score of a pair is the cosine of its two vectors."""

    reads_pairs = False
    truncates_each_text = True

    def __init__(self, model: Any) -> None:
        self.model = model

    def token_ids(self, left: Sequence[str], right: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, left texts first."""
        batch = self.model.preprocess([*left, *right], prompt=self.model.prompts["query"])
        rows = zip(batch["input_ids"], batch["attention_mask"], strict=True)
        return [row[mask.bool()].tolist() for row, mask in rows]

    def scores(self, left: Sequence[str], right: Sequence[str]) -> NDArray[np.float32]:
        """Compute cosines [N]."""
        vectors = self.model.encode([*left, *right], show_progress_bar=False)
        products: NDArray[np.float32] = (vectors[: len(left)] * vectors[len(left) :]).sum(1)
        return products
