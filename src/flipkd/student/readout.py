"""LoRA's down-projection read as an encoder: u = A x at chosen places, pooled over a text's tokens, unit length.

In `h = W x + B A x` the r numbers `A x` are the compressed representation of a token (Li et al., ACL 2025, arXiv
2507.05617); which layers and modules are read and how tokens are pooled is not public, so both are settings (*ours*).
The vectors come out of the ordinary forward pass. Merging LoRA into the base deletes A, so that a
matcher's folder holds it once more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flipkd.errors import ConfigError, nearest

LAYER = re.compile(r"(?:^|\.)(\d+)\.")


def linear_modules(model: nn.Module) -> dict[str, int]:
    """Name -> layer number of every linear module inside the numbered layers of `model`; no family is special."""
    from transformers.pytorch_utils import Conv1D

    found = {}
    for name, module in model.named_modules():
        layer = LAYER.search(name)
        if layer and isinstance(module, nn.Linear | Conv1D):
            found[name] = int(layer.group(1))
    return found


def require_layer(layer: int, count: int, *, said: str) -> None:
    """Raise ConfigError, which begins with what is `said`, for a layer that a model of `count` layers does not have."""
    if not -count <= layer < count:
        raise ConfigError(f"{said}; this model has layers 0 to {count - 1} (or -1 to -{count})")


def find_readout_modules(model: nn.Module, *, layers: Sequence[int], modules: Sequence[str]) -> list[str]:
    """Full names of the modules to read, in the order of `layers` then `modules`; negative layers count from the end.

    Raises ConfigError for a layer or module that the model does not have.
    """
    linear = linear_modules(model)
    count = max(linear.values(), default=-1) + 1
    known = sorted({name.rsplit(".", 1)[-1] for name in linear})
    places = []
    for layer in layers:
        require_layer(layer, count, said=f"readout layer {layer} does not exist")
        inside = {name: name.rsplit(".", 1)[-1] for name, at in linear.items() if at == layer % count}
        for module in modules:
            if module not in known:
                raise ConfigError(f"no module is called {module!r} in this model; {nearest(module, known)}")
            if module not in inside.values():  # a layer that reuses the keys and values of another has none of its own
                has = ", ".join(sorted(set(inside.values())))
                raise ConfigError(f"layer {layer % count} of this model has no module {module!r}; it has {has}")
            places += [name for name, last in inside.items() if last == module]
    return places


class Readout(nn.Module):
    """Catches x at each place while the model runs; `pooled` makes unit vectors of A x from what was caught.

    `weights` maps a place to its own copy of A [r, inputs] when LoRA has been merged away; else the adapters are read.
    x is what the layer gets, before LoRA's dropout.
    """

    def __init__(
        self, model: nn.Module, places: Sequence[str], *, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.places = list(places)
        self._caught: dict[str, tuple[Tensor, Tensor]] | None = None
        for place in self.places:
            module: Any = model.get_submodule(place)
            if weights is None:
                down = getattr(module, "lora_A", None)
                if down is None:
                    raise ConfigError(
                        f"{place} is to be read but has no LoRA; add it to lora_target_modules and lora_layers"
                    )
            else:
                self.register_buffer(place.replace(".", "_"), weights[place].float(), persistent=False)
            module.register_forward_pre_hook(self._catch(place))

    def start(self) -> None:
        """Catch the next forward pass."""
        self._caught = {}

    def pooled(self, *masks: Tensor, pad: Callable[[Tensor], Tensor] | None = None) -> list[Tensor]:
        """[N, D] float32 unit vectors for each mask [N, T]: mean over the masked tokens, places side by side.

        `pad` turns what was caught [1, total, inputs] into [N, T, inputs] when the rows were laid end to end.
        """
        caught, self._caught = self._caught or {}, None
        if pad is not None:
            caught = {place: (pad(inputs), down) for place, (inputs, down) in caught.items()}
        shares = torch.stack([mask.float() / mask.sum(1, keepdim=True).clamp_min(1) for mask in masks], dim=1)
        with torch.autocast(shares.device.type, enabled=False):  # it would round the products to bfloat16
            # A is linear: the mean goes first, which leaves one product a text, and A x of no token is ever kept.
            means = [(torch.bmm(shares, caught[place][0].float()), caught[place][1].float()) for place in self.places]
            vectors = torch.cat([nn.functional.linear(mean, down) for mean, down in means], dim=2)
        return list(nn.functional.normalize(vectors, dim=2, eps=1e-8).unbind(1))

    def _catch(self, place: str) -> Callable[..., None]:
        """A hook that keeps what A reads at `place`, and A itself; the product is made outside of the layer.

        Inside, activation checkpointing would find another number of tensors when it runs the layer again.
        """

        def hook(module: Any, inputs: tuple[Tensor, ...]) -> None:
            if self._caught is not None:
                name = place.replace(".", "_")
                down = self.get_buffer(name) if name in self._buffers else module.lora_A["default"].weight
                self._caught[place] = inputs[0], down

        return hook


def down_parameters(model: nn.Module, places: Sequence[str]) -> dict[str, nn.Parameter]:
    """A [r, inputs] of each place as it trains, before LoRA is merged."""
    layers: dict[str, Any] = {place: model.get_submodule(place) for place in places}
    return {place: layer.lora_A["default"].weight for place, layer in layers.items()}


def down_projections(model: nn.Module, places: Sequence[str]) -> dict[str, Tensor]:
    """A [r, inputs] of each place in float32, to be stored beside a model whose LoRA will be merged."""
    return {place: weight.detach().float().cpu() for place, weight in down_parameters(model, places).items()}
