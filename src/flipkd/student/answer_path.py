"""Which linear modules pass on to the answer what they compute of a text's tokens.

The answer is read at the last token, which sees the texts only through keys and values. What the last layer computes of a
text's tokens beside those (queries, what its attention gives, its MLP) ends there: A x at such a place cannot change the
answer, however it is trained. The gradient says which modules these are, so that no family and no name is special.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flipkd.errors import ConfigError
from flipkd.student.readout import LAYER, linear_modules
from flipkd.student.rows import LEFT_TEXT, RIGHT_TEXT, pad, to_device

if TYPE_CHECKING:
    from flipkd.student.model import Student

INSIDE_LORA = re.compile(r"\.(?:base_layer|lora_[AB])(?:\.|$).*")


def modules_on_path(student: Student) -> set[str]:
    """Names of the linear modules whose output at the tokens of a pair's texts has a gradient from the answer that is not 0.

    One pass over a short pair, forward and backward; the pair's own pass in every reading, also where texts are read alone
    for their vectors.
    """
    model, prompt = student.language_model, student.prompt
    batch = to_device(pad(prompt.pair_rows(["a b"], ["c d"]), padding_id=prompt.padding_id), student.device)
    is_text = (batch["segment"] == LEFT_TEXT) | (batch["segment"] == RIGHT_TEXT)
    added: list[tuple[str, Tensor]] = []

    def adding(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        """A hook that adds zeros to the output of the module `name`: their gradient is that of what LoRA adds there."""

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            zeros = torch.zeros_like(output, requires_grad=True)
            added.append((name, zeros))
            return output + zeros

        return hook

    names = {INSIDE_LORA.sub("", name) for name in linear_modules(model)}
    hooks = [model.get_submodule(name).register_forward_hook(adding(name)) for name in sorted(names)]
    try:
        with torch.enable_grad():
            answer = student.answer(student.hidden(batch)[:, -1])
            gradients = torch.autograd.grad(
                answer[:, 1] - answer[:, 0], [zeros for _, zeros in added], allow_unused=True
            )
    finally:
        for hook in hooks:
            hook.remove()
        student.adapters.forget()
    found = [(name, gradient) for (name, _), gradient in zip(added, gradients, strict=True) if gradient is not None]
    return {name for name, gradient in found if gradient.shape[:2] == is_text.shape and gradient[is_text].any()}


def require_path_to_answer(student: Student) -> None:
    """Raise ConfigError when a place that is read cannot reach the answer; it names the nearest modules that do."""
    found = modules_on_path(student)
    off = [place for place in student.readout.places if place not in found]
    if off:
        raise ConfigError(
            f"the readout at {off[0]} cannot reach the answer: the answer sees a text only through keys and values, and "
            "none that come behind this module hold what it computes of a text; what the vectors learn there the answer "
            f"never gets. {_nearest(off[0], found)}, or set allow_readout_off_path to true if only the vectors matter"
        )


def _nearest(place: str, found: set[str]) -> str:
    """The modules on the path in the layer that is nearest to that of `place`, in words."""

    def layer(name: str) -> int:
        number = LAYER.search(name)
        return int(number.group(1)) if number else 0

    nearest = min((abs(layer(name) - layer(place)), layer(name)) for name in found)[1]
    modules = sorted({name.rsplit(".", 1)[-1] for name in found if layer(name) == nearest})
    return f"Set readout_modules to some of {', '.join(modules)} with readout_layers=[{nearest}]"
