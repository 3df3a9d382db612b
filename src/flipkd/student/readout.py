"""Text embeddings from LoRA's down-projections: A x at the readout modules, averaged over a text's tokens, unit length.

In `h = W x + B A x` the r values `A x` are the compressed representation of a token (Li et al., ACL 2025, arXiv
2507.05617). The paper does not state the layers, the modules and the pooling: layers and modules are settings, and the
pooling is a mean (*ours*). The embeddings come from the ordinary forward pass. Merging LoRA into the base removes A, so the
matcher folder stores a copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from flipkd.errors import ConfigError, nearest

LAYER = re.compile(r"(?:^|\.)(\d+)\.")


def linear_modules(model: nn.Module) -> dict[str, int]:
    """Return name -> layer number of every linear module in the numbered layers of `model`, for any model family."""
    found = {}
    for name, module in model.named_modules():
        layer = LAYER.search(name)
        if layer and isinstance(module, nn.Linear | Conv1D):
            found[name] = int(layer.group(1))
    return found


def require_layer(layer: int, count: int, *, setting: str) -> None:
    """Raise ConfigError naming `setting` for a layer that a model of `count` layers does not have."""
    if not -count <= layer < count:
        raise ConfigError(f"{setting} has layer {layer}; this model has layers 0 to {count - 1} (or -1 to -{count})")


def find_readout_modules(model: nn.Module, *, layers: Sequence[int], modules: Sequence[str]) -> list[str]:
    """Return the full names of the readout modules, ordered by `layers`, then `modules`; negative layers count from the end.

    A module that is named twice is in the list once. Raises ConfigError for a layer or module that the model does not have.
    """
    linear = linear_modules(model)
    count = max(linear.values(), default=-1) + 1
    known = sorted({name.rsplit(".", 1)[-1] for name in linear})
    module_names = []
    for layer in layers:
        require_layer(layer, count, setting="readout_layers")
        in_layer = {name: name.rsplit(".", 1)[-1] for name, number in linear.items() if number == layer % count}
        for module in modules:
            if module not in known:
                raise ConfigError(
                    f"readout_modules has {module!r}, which is not in this model; {nearest(module, known)}"
                )
            if module not in in_layer.values():  # for example a layer that reuses the keys and values of another
                available = ", ".join(sorted(set(in_layer.values())))
                raise ConfigError(f"layer {layer % count} of this model has no module {module!r}; it has {available}")
            module_names += [name for name, last in in_layer.items() if last == module]
    return list(dict.fromkeys(module_names))


class Readout(nn.Module):
    """Capture the input x of each readout module in a forward pass; `pooled` computes unit vectors of A x from it.

    `weights` maps a module name to a copy of A [r, inputs] when LoRA is merged; else A of the adapters is used.
    x is the input of the layer, before LoRA's dropout.
    """

    def __init__(
        self, model: nn.Module, module_names: Sequence[str], *, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.module_names = list(module_names)
        self._captured: dict[str, tuple[Tensor, Tensor]] | None = None
        for name in self.module_names:
            module: Any = model.get_submodule(name)
            if weights is None:
                down = getattr(module, "lora_A", None)
                if down is None:
                    raise ConfigError(
                        f"the readout module {name} has no LoRA; add it to lora_target_modules and lora_layers"
                    )
            else:
                self.register_buffer(name.replace(".", "_"), weights[name].float(), persistent=False)
            module.register_forward_pre_hook(self._capture_hook(name))

    def start(self) -> None:
        """Start to capture; the next forward pass is captured."""
        self._captured = {}

    def pooled(self, *masks: Tensor, pad: Callable[[Tensor], Tensor] | None = None) -> list[Tensor]:
        """Compute float32 unit vectors [N, D] for each mask [N, T]: mean over masked tokens, modules concatenated.

        `pad` pads the captured inputs [1, total, inputs] of packed rows to [N, T, inputs].
        """
        captured, self._captured = self._captured or {}, None
        if pad is not None:
            captured = {name: (pad(inputs), down) for name, (inputs, down) in captured.items()}
        shares = torch.stack([mask.float() / mask.sum(1, keepdim=True).clamp_min(1) for mask in masks], dim=1)
        with torch.autocast(shares.device.type, enabled=False):  # it would round the products to bfloat16
            # A is linear, so the mean is taken first: one product per text, and A x of the tokens is never stored.
            inputs = [captured[name] for name in self.module_names]
            means = [(torch.bmm(shares, x.float()), down.float()) for x, down in inputs]
            vectors = torch.cat([nn.functional.linear(mean, down) for mean, down in means], dim=2)
        return list(nn.functional.normalize(vectors, dim=2, eps=1e-8).unbind(1))

    def _capture_hook(self, name: str) -> Callable[..., None]:
        """Return a hook that stores the input of module `name` and its A; the product is computed outside of the layer.

        Inside, activation checkpointing would find another number of tensors when it recomputes the layer.
        """

        def hook(module: Any, inputs: tuple[Tensor, ...]) -> None:
            if self._captured is not None:
                buffer = name.replace(".", "_")
                down = self.get_buffer(buffer) if buffer in self._buffers else module.lora_A["default"].weight
                self._captured[name] = inputs[0], down

        return hook


def down_parameters(model: nn.Module, module_names: Sequence[str]) -> dict[str, nn.Parameter]:
    """Return the parameter A [r, inputs] of each readout module, before LoRA is merged."""
    layers: dict[str, Any] = {name: model.get_submodule(name) for name in module_names}
    return {name: layer.lora_A["default"].weight for name, layer in layers.items()}


def down_projections(model: nn.Module, module_names: Sequence[str]) -> dict[str, Tensor]:
    """Return a float32 copy of A [r, inputs] of each readout module, to store for a model with merged LoRA."""
    return {name: weight.detach().float().cpu() for name, weight in down_parameters(model, module_names).items()}
