"""A LoRA adapter in a folder; read back by a list of allowed fields, since peft imports a module that others may name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flipkd.artefacts import library_errors
from flipkd.errors import ArtefactError, RefusedError, shorten
from flipkd.files import read_json, write_json
from flipkd.student.language_model import ADAPTER, with_adapters

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS = "adapter_config.json"
UNREADABLE = "not a readable LoRA adapter"
# What stands there for people and for other programs; peft is not given it.
DESCRIPTIVE = (
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "peft_version",
    "megatron_core",
    "runtime_config",
)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


FIELDS = {
    "r": (_is_rank, "a whole number above 0"),
    "lora_alpha": (_is_number, "a number above 0"),
    "lora_dropout": (lambda value: value == 0 or (_is_number(value) and value < 1), "a number from 0 to below 1"),
    "target_modules": (_is_names, "a list of names"),
    "rank_pattern": (lambda value: _is_table(value, _is_rank), "names with whole numbers above 0"),
    "alpha_pattern": (lambda value: _is_table(value, _is_number), "names with numbers above 0"),
    "fan_in_fan_out": (lambda value: isinstance(value, bool), "true or false"),
    "peft_type": (lambda value: value == "LORA", "LORA"),
    "task_type": (lambda value: value == "CAUSAL_LM", "CAUSAL_LM"),
}


def _is_table(value: Any, is_part: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and is_part(part) for k, part in value.items())


def lora_config(file: Path) -> Any:
    """peft's LoraConfig of an adapter_config.json. Raises ArtefactError for a field that is missing or of another kind.

    Raises RefusedError for any other field that asks for something: flipkd writes none, and some name code.
    """
    from peft import LoraConfig

    values = read_json(file)
    if not isinstance(values, dict):
        raise ArtefactError(f"{file}: must hold an object")
    usual = LoraConfig().to_dict()
    for name, value in values.items():
        empty = value in (None, False, {}, []) or name in DESCRIPTIVE or (name in usual and value == usual[name])
        if name not in FIELDS and not empty:
            raise RefusedError(
                f"{file}: {name} is {shorten(value)}; it must be empty: flipkd reads {', '.join(FIELDS)}"
            )
    for name, (fits, allowed) in FIELDS.items():
        if name not in values:
            raise ArtefactError(f"{file}: has no {name}, which must be {allowed}")
        if not fits(values[name]):
            raise ArtefactError(f"{file}: {name} is {shorten(values[name])}; it must be {allowed}")
    with library_errors(file, UNREADABLE):
        return LoraConfig(**{name: values[name] for name in FIELDS if name != "peft_type"})


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter of a peft model into `folder`, equal files for equal adapters."""
    place = folder / ADAPTER
    model.save_pretrained(str(place), save_embedding_layers=False)
    (place / "README.md").unlink(missing_ok=True)
    values = read_json(place / SETTINGS)
    # peft keeps these as a set, whose order differs from process to process.
    write_json(place / SETTINGS, values | {"target_modules": sorted(values["target_modules"])})


def read_adapter(folder: Path) -> tuple[Any, dict[str, Tensor]]:
    """peft's configuration and the tensors of the adapter in a matcher's folder. Raises as `lora_config`."""
    place = folder / ADAPTER
    config = lora_config(place / SETTINGS)
    with library_errors(place, UNREADABLE):
        return config, finite_tensors(place / "adapter_model.safetensors")


def finite_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises ArtefactError naming one that is not finite: it would make scores NaN."""
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = load_file(file)
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ArtefactError(
                f"{file}: {shorten(name)} holds values that are not finite; take a matcher of another run, or train anew"
            )
    return tensors


def load_adapter(model: Any, folder: Path) -> Any:
    """`model` with the adapter of `folder`; a missing or unexpected tensor is an ArtefactError, not a warning."""
    from peft import set_peft_model_state_dict

    place = folder / ADAPTER
    config, state = read_adapter(folder)
    with library_errors(place, UNREADABLE):
        peft_model = with_adapters(model, config)
    with library_errors(place, "its shapes do not fit the base model"):
        result = set_peft_model_state_dict(peft_model, state)
    _require_all(place, result.missing_keys, result.unexpected_keys)
    return peft_model


def _require_all(place: Path, missing: list[str], unexpected: list[str]) -> None:
    missing = [key for key in missing if "lora_" in key]
    if missing or unexpected:
        raise ArtefactError(
            f"{place}: does not fit the base model: {len(missing)} tensors missing, "
            f"{len(unexpected)} unexpected ({(missing + list(unexpected))[0]})"
        )
