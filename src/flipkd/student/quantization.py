"""Quantize the linear layers of a base model to 4 bits: NormalFloat4 with double quantization (QLoRA, arXiv 2305.14314).

The model is first loaded unquantized, so its hash is that of the original; then each layer is quantized on the device on
which it will run. bitsandbytes is an optional dependency.
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
    """Raise ConfigError with the install command when bitsandbytes is missing."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise ConfigError(
            f"load_in_4bit needs {PACKAGE}, which is not installed; run {INSTALL}, or set load_in_4bit to false"
        )


def quantize_4bit(model: Any, *, dtype: torch.dtype, device: str) -> None:
    """Replace the linear modules in the layers by 4-bit ones on `device` that compute in `dtype`.

    Raises ConfigError without bitsandbytes, or when there is nothing to quantize.
    """
    for name, module, packed in _quantized_modules(model, device=device):
        quantized = _bitsandbytes().nn.Linear4bit(
            module.in_features,
            module.out_features,
            bias=module.bias is not None,
            compute_dtype=dtype,
            compress_statistics=True,
            quant_type="nf4",
            device="meta",
        )
        # In eval mode some CPUs would repack the weights in place: only for certain widths, and gradients do not pass it.
        quantized.support_avx512bf16_for_cpu = False
        quantized.weight, quantized.bias = packed, module.bias
        packed.module, quantized.quant_state = quantized, packed.quant_state
        model.set_submodule(name, quantized.train(module.training))
    model.is_loaded_in_4bit = True  # peft checks this attribute


def simulate_4bit(model: Any, *, device: str) -> None:
    """Round the weights of the linear modules in the layers to 4 bits but keep their dtype, so that LoRA can be merged."""
    for _, module, packed in _quantized_modules(model, device=device):
        weight = _bitsandbytes().functional.dequantize_4bit(packed.data, packed.quant_state)
        module.weight = nn.Parameter(weight.to(module.weight), requires_grad=False)


def _quantized_modules(model: Any, *, device: str) -> Iterator[tuple[str, nn.Linear, Any]]:
    """Yield name, module and 4-bit weights one by one, so that only one layer at a time is in memory twice."""
    require_bitsandbytes()
    plain = [name for name in linear_modules(model) if type(model.get_submodule(name)) is nn.Linear]
    if not plain:
        raise ConfigError(
            f"load_in_4bit finds no plain linear layers in {type(model).__name__}: the model is quantized already, or has "
            "layers that bitsandbytes does not support; set load_in_4bit to false"
        )
    for name in plain:
        module = model.get_submodule(name)
        weight = _bitsandbytes().nn.Params4bit(
            module.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4"
        )
        yield name, module, weight.to(device)


def _bitsandbytes() -> Any:
    # On some CPUs it recommends a package that downloads a kernel from the hub; flipkd executes no remote code.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    import bitsandbytes

    return bitsandbytes
