"""What several processes can do together and what they cannot: said before any work."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import torch

from flipkd import ranks
from flipkd.errors import ConfigError

logger = logging.getLogger(__name__)
BY_LAUNCHER = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "parallelism_config",
}
BY_ARGUMENT = ("fsdp", "fsdp_config", "deepspeed", "parallelism_config")


def refuse_sharding(arguments: Mapping[str, Any]) -> None:
    """Raise ConfigError where the model is to be cut into parts, by the launcher's configuration or by `arguments`.

    The readout takes A of a layer after that layer has run, when its part is no longer there; and rank 0 scores
    validation alone, where every pass would need all ranks. On CPUs accelerate ignores such a wish without a word.
    """
    asked = [name for variable, name in BY_LAUNCHER.items() if os.environ.get(variable, "").lower() in ("true", "1")]
    asked += [f"training_arguments.{name}" for name in BY_ARGUMENT if arguments.get(name)]
    if asked:
        raise ConfigError(
            f"{asked[0]} cuts the model into parts, which flipkd does not support: every process holds the whole base, and "
            "only the batches are shared. Choose distributed_type MULTI_GPU (or torchrun, or --num_processes); for a base "
            "that does not fit, set training_arguments.activation_checkpointing, or take a smaller one"
        )


def defaults() -> dict[str, Any]:
    """Training arguments that several processes need."""
    own: dict[str, Any] = {"ddp_broadcast_buffers": False}  # none of them changes
    if ranks.launched() and not torch.cuda.is_available():
        own["use_cpu"] = True  # without it accelerate starts as many runs as processes, each for itself
    return own


def require_joined(arguments: Any) -> None:
    """Raise ConfigError unless transformers' arguments have joined as many processes as the launcher has started."""
    if arguments.world_size != ranks.world_size():
        raise ConfigError(
            f"accelerate counts {arguments.world_size} processes where RANK, LOCAL_RANK and WORLD_SIZE say "
            f"{ranks.world_size()}; start with torchrun, accelerate launch or --num_processes"
        )
    if ranks.launched() and arguments.auto_find_batch_size:
        raise ConfigError(
            "auto_find_batch_size would find a size for each process; set per_device_train_batch_size instead"
        )


def tell_of_idle_gpus() -> None:
    """One line where a plain start leaves GPUs unused."""
    count = torch.cuda.device_count()
    if count > 1 and not ranks.launched():
        logger.warning("one of %d GPUs is used; flipkd train --num_processes %d uses all", count, count)
