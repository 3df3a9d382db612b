"""A base model whose linear layers hold 4 bits a weight: NormalFloat4, its scales quantised once more (QLoRA, arXiv 2305.14314).

The model is first loaded as it is, so that its hash is that of the original; then each layer is quantised on the device on
which it will run. bitsandbytes is an extra.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from flipkd.errors import ConfigError
from flipkd.student.readout import linear_modules

PACKAGE = "bitsandbytes"
INSTALL = 'pip install "flipkd[bnb]"'


def require_bitsandbytes() -> None:
    """Raise ConfigError with the line that installs it when bitsandbytes is missing."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise ConfigError(f"load_in_4bit needs {PACKAGE}; {INSTALL}, or set load_in_4bit to false")


def quantize_4bit(model: Any, *, dtype: torch.dtype, device: str) -> None:
    """Replace the linear modules in the layers by 4-bit ones on `device` that compute in `dtype`; the rest stays as it is.

    Raises ConfigError without bitsandbytes, or when there is nothing to quantise.
    """
    for name, module, packed in _quantised(model, device=device):
        held = _bitsandbytes().nn.Linear4bit(
            module.in_features,
            module.out_features,
            bias=module.bias is not None,
            compute_dtype=dtype,
            compress_statistics=True,
            quant_type="nf4",
            device="meta",
        )
        # In eval mode some CPUs would repack the weights in place: for certain widths only, and behind it no gradients flow.
        held.support_avx512bf16_for_cpu = False
        held.weight, held.bias = packed, module.bias
        packed.module, held.quant_state = held, packed.quant_state
        model.set_submodule(name, held.train(module.training))
    model.is_loaded_in_4bit = True  # what peft goes by


def simulate_4bit(model: Any, *, device: str) -> None:
    """Give each linear module in the layers the weights that 4 bits would give it, in its own dtype: LoRA merges into these."""
    for _, module, packed in _quantised(model, device=device):
        weight = _bitsandbytes().functional.dequantize_4bit(packed.data, packed.quant_state)
        module.weight = nn.Parameter(weight.to(module.weight), requires_grad=False)


def _quantised(model: Any, *, device: str) -> Iterator[tuple[str, nn.Linear, Any]]:
    """Name, module and 4-bit weights, one after the other, so that one layer at a time is held twice."""
    require_bitsandbytes()
    plain = [name for name in linear_modules(model) if type(model.get_submodule(name)) is nn.Linear]
    if not plain:
        raise ConfigError(
            f"load_in_4bit finds no plain linear layers in {type(model).__name__}: it is quantised already, or of a kind "
            "that bitsandbytes cannot hold; set load_in_4bit to false"
        )
    for name in plain:
        module = model.get_submodule(name)
        weight = _bitsandbytes().nn.Params4bit(
            module.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4"
        )
        yield name, module, weight.to(device)


def _bitsandbytes() -> Any:
    # On some CPUs it recommends a package that would fetch a kernel from the hub; nothing remote is executed here.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    import bitsandbytes

    return bitsandbytes
