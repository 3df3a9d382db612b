"""Find the linear modules whose outputs at the text tokens can change the answer.

The answer is computed at the last token, which attends to the texts only through their keys and values. In the last layer
all other outputs at text tokens (queries, attention output, MLP) are unused: A x at such a module cannot change the answer,
however it is trained. A gradient finds these modules, so no model family and no module name needs special treatment.
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


def modules_reaching_answer(student: Student) -> set[str]:
    """Return the names of the linear modules whose outputs at text tokens get a nonzero gradient from the answer.

    It runs one forward and backward pass over a short pair. That pass gives the answer in every `reading`, also in the
    separate one, which embeds the texts in passes of their own.
    """
    model, prompt = student.language_model, student.prompt
    batch = to_device(pad(prompt.pair_rows(["a b"], ["c d"]), padding_id=prompt.padding_id), student.device)
    is_text = (batch["segment"] == LEFT_TEXT) | (batch["segment"] == RIGHT_TEXT)
    added: list[tuple[str, Tensor]] = []

    def make_hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        """Return a hook that adds zeros to the output of module `name`; their gradient is that of LoRA's term B A x."""

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            zeros = torch.zeros_like(output, requires_grad=True)
            added.append((name, zeros))
            return output + zeros

        return hook

    names = {INSIDE_LORA.sub("", name) for name in linear_modules(model)}
    hooks = [model.get_submodule(name).register_forward_hook(make_hook(name)) for name in sorted(names)]
    try:
        with torch.enable_grad():
            answer = student.answer(student.hidden(batch)[:, -1])
            gradients = torch.autograd.grad(
                answer[:, 1] - answer[:, 0], [zeros for _, zeros in added], allow_unused=True
            )
    finally:
        for hook in hooks:
            hook.remove()
        student.adapters.release()
    found = [(name, gradient) for (name, _), gradient in zip(added, gradients, strict=True) if gradient is not None]
    return {name for name, gradient in found if gradient.shape[:2] == is_text.shape and gradient[is_text].any()}


def require_path_to_answer(student: Student) -> None:
    """Raise ConfigError when a readout module cannot change the answer; the message names the nearest modules that can."""
    reaching = modules_reaching_answer(student)
    unreachable = [name for name in student.readout.module_names if name not in reaching]
    if unreachable:
        raise ConfigError(
            f"the readout at {unreachable[0]} cannot reach the answer: the answer token attends to a text only through its "
            "keys and values, and none of them depend on the output of this module at the text tokens, so training the "
            f"embeddings would not change the answer. {_suggestion(unreachable[0], reaching)}, or set "
            "allow_readout_off_path to true if only the embeddings matter"
        )


def _suggestion(module_name: str, reaching: set[str]) -> str:
    """Name the settings for the `reaching` modules in the layer that is nearest to that of `module_name`."""

    def layer(name: str) -> int:
        number = LAYER.search(name)
        return int(number.group(1)) if number else 0

    nearest = min((abs(layer(name) - layer(module_name)), layer(name)) for name in reaching)[1]
    modules = sorted({name.rsplit(".", 1)[-1] for name in reaching if layer(name) == nearest})
    return f"Set readout_modules to some of {', '.join(modules)} with readout_layers=[{nearest}]"
