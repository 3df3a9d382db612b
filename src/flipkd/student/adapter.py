"""Save and load a LoRA adapter. Only listed config fields are read, because peft imports modules that other fields can name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import load_file

from flipkd.artefacts import library_errors
from flipkd.errors import ArtefactError, RefusedError, shorten
from flipkd.files import read_json, write_json
from flipkd.student.language_model import ADAPTER, with_adapters

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS = "adapter_config.json"
UNREADABLE = "not a readable LoRA adapter"
# Fields for people and other programs; they are not passed to peft.
UNUSED_FIELDS = (
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
    "r": (_is_rank, "an integer above 0"),
    "lora_alpha": (_is_number, "a number above 0"),
    "lora_dropout": (lambda value: value == 0 or (_is_number(value) and value < 1), "a number from 0 to below 1"),
    "target_modules": (_is_names, "a list of names"),
    "rank_pattern": (lambda value: _is_table(value, _is_rank), "names with integers above 0"),
    "alpha_pattern": (lambda value: _is_table(value, _is_number), "names with numbers above 0"),
    "fan_in_fan_out": (lambda value: isinstance(value, bool), "true or false"),
    "peft_type": (lambda value: value == "LORA", "LORA"),
    "task_type": (lambda value: value == "CAUSAL_LM", "CAUSAL_LM"),
}


def _is_table(value: Any, is_part: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and is_part(part) for k, part in value.items())


def lora_config(file: Path) -> Any:
    """Read peft's LoraConfig from an adapter_config.json.

    Raises ArtefactError for a missing field or a wrong type. Raises RefusedError for any other field that is not empty and
    not peft's default: flipkd writes none, and some name code to import.
    """
    values = read_json(file)
    if not isinstance(values, dict):
        raise ArtefactError(f"{file}: must hold an object")
    defaults = LoraConfig().to_dict()
    for name, value in values.items():
        empty = (
            value in (None, False, {}, []) or name in UNUSED_FIELDS or (name in defaults and value == defaults[name])
        )
        if name not in FIELDS and not empty:
            raise RefusedError(
                f"{file}: {name} is {shorten(value)}; it must be empty: flipkd supports only {', '.join(FIELDS)}"
            )
    for name, (is_valid, allowed) in FIELDS.items():
        if name not in values:
            raise ArtefactError(f"{file}: missing field {name}; it must be {allowed}")
        if not is_valid(values[name]):
            raise ArtefactError(f"{file}: {name} is {shorten(values[name])}; it must be {allowed}")
    with library_errors(file, UNREADABLE):
        return LoraConfig(**{name: values[name] for name in FIELDS if name != "peft_type"})


def save_adapter(model: Any, folder: Path, *, base: str | None) -> None:
    """Write the adapter of a peft model into `folder`; equal adapters give equal files.

    `base`: hub id of the base model, from which peft and other programs load it; None if it has none.
    """
    adapter_folder = folder / ADAPTER
    model.save_pretrained(str(adapter_folder), save_embedding_layers=False)
    (adapter_folder / "README.md").unlink(missing_ok=True)
    # peft keeps target_modules as a set; its order differs between processes.
    values = read_json(adapter_folder / SETTINGS)
    write_json(adapter_folder / SETTINGS, values | {"target_modules": sorted(values["target_modules"])})
    name_base(folder, base)


def base_of(folder: Path) -> Any:
    """Return the base model in the adapter_config.json of a matcher folder."""
    return read_json(folder / ADAPTER / SETTINGS).get("base_model_name_or_path")


def name_base(folder: Path, base: str | None) -> None:
    """Set the base model in the adapter_config.json of a matcher folder."""
    file = folder / ADAPTER / SETTINGS
    write_json(file, read_json(file) | {"base_model_name_or_path": base})


def read_adapter(folder: Path) -> tuple[Any, dict[str, Tensor]]:
    """Read peft's config and the tensors of the adapter in a matcher folder. Raises the errors of `lora_config`."""
    adapter_folder = folder / ADAPTER
    config = lora_config(adapter_folder / SETTINGS)
    with library_errors(adapter_folder, UNREADABLE):
        return config, finite_tensors(adapter_folder / "adapter_model.safetensors")


def finite_tensors(file: Path) -> dict[str, Tensor]:
    """Load a safetensors file. Raises ArtefactError naming a tensor with a NaN or an infinity: it would make scores NaN."""
    tensors: dict[str, Tensor] = load_file(file)
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ArtefactError(
                f"{file}: {shorten(name)} holds values that are not finite; use a matcher of another run, or train again"
            )
    return tensors


def load_adapter(model: Any, folder: Path) -> Any:
    """Add the adapter in `folder` to `model`. Raises ArtefactError for a missing or unexpected tensor; peft only warns."""
    adapter_folder = folder / ADAPTER
    config, state = read_adapter(folder)
    with library_errors(adapter_folder, UNREADABLE):
        peft_model = with_adapters(model, config)
    with library_errors(adapter_folder, "its shapes do not fit the base model"):
        result = set_peft_model_state_dict(peft_model, state)
    _require_all(adapter_folder, result.missing_keys, result.unexpected_keys)
    return peft_model


def _require_all(adapter_folder: Path, missing: list[str], unexpected: list[str]) -> None:
    missing = [key for key in missing if "lora_" in key]
    if missing or unexpected:
        raise ArtefactError(
            f"{adapter_folder}: does not fit the base model: {len(missing)} tensors missing, "
            f"{len(unexpected)} unexpected ({(missing + list(unexpected))[0]})"
        )
