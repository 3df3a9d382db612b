"""A student that starts from the adapters of a finished one instead of fresh ones, so that one training can follow another."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from torch import Tensor

from flipkd.errors import ArtefactError, ConfigError
from flipkd.files import MANIFEST, check_manifest, sha256
from flipkd.student.adapter import read_adapter
from flipkd.student.contract import CONTRACT, ScoreContract, matcher_folder, read_contract
from flipkd.student.model import Student

logger = logging.getLogger(__name__)
PROMPT = ("template", "reading", "max_text_length", "text_normalisation")


def initial_adapters_hash(init_from: str) -> str:
    """The sha256 of the manifest of a matcher folder, or of the one in a run folder. Raises ArtefactError without one."""
    folder = matcher_folder(init_from)
    if folder.is_dir() and not (folder / CONTRACT).exists():
        raise ArtefactError(f"init_from: {init_from} holds no finished matcher; give a folder that flipkd train made")
    check_manifest(folder)
    return sha256(folder / MANIFEST)


def load_initial_adapters(student: Student, contract: ScoreContract, init_from: str) -> None:
    """Give `student` the adapters of the matcher in the folder `init_from`.

    Raises ArtefactError for a folder without a whole matcher, ConfigError when its base model or its LoRA is another one.
    A prompt that differs is logged.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    initial_adapters_hash(init_from)
    folder = matcher_folder(init_from)
    theirs = read_contract(folder)
    if theirs.base_model_hash != contract.base_model_hash:
        raise ConfigError(
            f"init_from: {init_from} was trained on {theirs.base_model_name_or_path} ({theirs.base_model_hash}), this run has "
            f"{contract.base_model_name_or_path} ({contract.base_model_hash}); give the same base model in the same dtype"
        )
    config, state = read_adapter(folder)
    _require_same_shape(init_from, get_peft_model_state_dict(student.model, save_embedding_layers=False), state)
    own = student.model.peft_config["default"]
    if not math.isclose(config.lora_alpha / config.r, own.lora_alpha / own.r):
        raise ConfigError(
            f"init_from: in {init_from} lora_alpha / lora_r is {config.lora_alpha / config.r:g}, here "
            f"{own.lora_alpha / own.r:g}: the same weights would mean something else; give the same ratio"
        )
    other = [name for name in PROMPT if getattr(theirs, name) != getattr(contract, name)]
    if other:
        logger.warning("init_from: %s was trained with another %s than this run", init_from, " and ".join(other))
    set_peft_model_state_dict(student.model, state)
    logger.info("started from the adapters of %s", Path(init_from))


def _require_same_shape(init_from: str, own: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Raise ConfigError unless both have the same tensors."""
    here, there = ({name: list(tensor.shape) for name, tensor in one.items()} for one in (own, state))
    odd = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    if odd:
        raise ConfigError(
            f"init_from: the LoRA of {init_from} is another one: {len(odd)} tensors differ, first {odd[0]}: "
            f"{there.get(odd[0], 'missing')} there, {here.get(odd[0], 'missing')} here; give lora_r, lora_target_modules, "
            "lora_layers, readout_r, readout_layers and readout_modules as they were there"
        )
