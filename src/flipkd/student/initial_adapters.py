"""Initialise the adapters of a student from those of a finished matcher, to continue training on other data."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from peft import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from flipkd.errors import ArtefactError, ConfigError
from flipkd.files import MANIFEST, check_manifest, sha256
from flipkd.student.adapter import read_adapter
from flipkd.student.contract import CONTRACT, ScoreContract, matcher_folder, read_contract
from flipkd.student.model import Student

logger = logging.getLogger(__name__)
PROMPT = ("template", "reading", "max_text_length", "text_normalisation", "glossary")


def initial_adapters_hash(init_from: str) -> str:
    """Return the sha256 of the manifest of a matcher folder, or of that in a run folder. Raises ArtefactError without one."""
    folder = matcher_folder(init_from)
    if folder.is_dir() and not (folder / CONTRACT).exists():
        raise ArtefactError(f"init_from: {init_from} holds no finished matcher; give a folder that flipkd train wrote")
    check_manifest(folder)
    return sha256(folder / MANIFEST)


def load_initial_adapters(student: Student, contract: ScoreContract, init_from: str) -> None:
    """Load the adapters of the matcher in the folder `init_from` into `student`.

    Raises ArtefactError for a folder without a complete matcher, ConfigError when its base model or its LoRA shapes differ.
    A different prompt is logged.
    """
    initial_adapters_hash(init_from)
    folder = matcher_folder(init_from)
    source = read_contract(folder)
    if source.base_model_hash != contract.base_model_hash:
        raise ConfigError(
            f"init_from: {init_from} was trained on {source.base_model_name_or_path} ({source.base_model_hash}), but the base "
            f"model of this run is {contract.base_model_name_or_path} ({contract.base_model_hash}); give the same base "
            "model in the same dtype"
        )
    config, state = read_adapter(folder)
    _require_same_shape(init_from, get_peft_model_state_dict(student.model, save_embedding_layers=False), state)
    own = student.model.peft_config["default"]
    if not math.isclose(config.lora_alpha / config.r, own.lora_alpha / own.r):
        raise ConfigError(
            f"init_from: lora_alpha / lora_r is {config.lora_alpha / config.r:g} in {init_from} and "
            f"{own.lora_alpha / own.r:g} in this run, which would scale the adapters differently; give the same ratio"
        )
    different = [name for name in PROMPT if getattr(source, name) != getattr(contract, name)]
    if different:
        logger.warning("init_from: %s was trained with another %s than this run", init_from, " and ".join(different))
    set_peft_model_state_dict(student.model, state)
    logger.info("started from the adapters of %s", Path(init_from))


def _require_same_shape(init_from: str, own: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Raise ConfigError unless both have the same names and shapes."""
    expected, found = ({name: list(tensor.shape) for name, tensor in one.items()} for one in (own, state))
    different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if different:
        raise ConfigError(
            f"init_from: the LoRA of {init_from} has other shapes: {len(different)} tensors differ, first {different[0]}: "
            f"{found.get(different[0], 'missing')} there, {expected.get(different[0], 'missing')} in this run; set lora_r, "
            "lora_target_modules, lora_layers, readout_r, readout_layers and readout_modules to the values of that run"
        )
