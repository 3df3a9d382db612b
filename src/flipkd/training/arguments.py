"""Fields of transformers' TrainingArguments as a user gives them, with what flipkd fixes and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from flipkd.errors import ConfigError, nearest
from flipkd.training import processes

REFUSED = "transformers refuses the training arguments"


def training_arguments(output_dir: Path, arguments: Mapping[str, Any]) -> TrainingArguments:
    """TrainingArguments with what flipkd fixes. Raises ConfigError for a field that transformers does not have."""
    fields = sorted(TrainingArguments.__dataclass_fields__)
    for name in arguments:
        if name not in fields:
            raise ConfigError(f"training_arguments has no field {name!r}; {nearest(name, fields)[:400]}")
    fixed = {
        "output_dir": str(output_dir),
        "remove_unused_columns": False,
        "label_names": ["label"],
        "logging_nan_inf_filter": False,
    }
    if own := sorted(fixed.keys() & arguments.keys()):
        raise ConfigError(f"training_arguments.{own[0]} cannot be set: flipkd needs it to be {fixed[own[0]]!r}")
    defaults = {
        "dataloader_pin_memory": torch.cuda.is_available(),
        "save_strategy": "steps",
        "disable_tqdm": False,  # transformers would tie the progress bar to its log level
    } | processes.defaults()
    processes.refuse_sharding(arguments)
    try:
        checked = TrainingArguments(**fixed | defaults | dict(arguments))
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"{REFUSED}: {error}") from None
    processes.require_joined(checked)
    if (checked.activation_checkpointing_kwargs or {}).get("use_reentrant"):
        raise ConfigError(
            "training_arguments.activation_checkpointing_kwargs.use_reentrant cannot be true: the gradients of the texts' "
            "vectors would be lost on the way; leave it out"
        )
    checked._n_gpu = min(checked.n_gpu, 1)  # with more the Trainer would copy the module, whose hooks stay behind
    return checked
