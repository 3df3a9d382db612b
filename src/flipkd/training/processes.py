"""Checks of training with several processes, made before any work."""

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
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "parallelism_config",
}
BY_ARGUMENT = ("deepspeed", "parallelism_config")


def refuse_sharding(arguments: Mapping[str, Any]) -> None:
    """Raise ConfigError for sharding other than FSDP, by the launcher's configuration or by `arguments`."""
    found = [name for variable, name in BY_LAUNCHER.items() if os.environ.get(variable, "").lower() in ("true", "1")]
    found += [f"training_arguments.{name}" for name in BY_ARGUMENT if arguments.get(name)]
    if found:
        raise ConfigError(
            f"{found[0]} is not supported: choose distributed_type MULTI_GPU (or torchrun, or --num_processes), where every "
            "process has the complete base model, or FSDP, which divides it (docs/gpu.md)"
        )


def defaults() -> dict[str, Any]:
    """Return the training arguments that several processes need."""
    own: dict[str, Any] = {"ddp_broadcast_buffers": False}  # no buffer changes
    if ranks.launched() and not torch.cuda.is_available():
        own["use_cpu"] = True  # without it accelerate starts an independent run in each process
    return own


def require_joined(arguments: Any) -> None:
    """Raise ConfigError unless transformers' arguments have joined as many processes as the launcher has started."""
    if arguments.world_size != ranks.world_size():
        raise ConfigError(
            f"accelerate counts {arguments.world_size} processes, but RANK, LOCAL_RANK and WORLD_SIZE are those of "
            f"{ranks.world_size()}; start with torchrun, accelerate launch or --num_processes"
        )
    if ranks.launched() and arguments.auto_find_batch_size:
        raise ConfigError(
            "auto_find_batch_size would choose another batch size in each process; set per_device_train_batch_size instead"
        )


def warn_about_idle_gpus() -> None:
    """Log a warning when a run with one process leaves GPUs unused."""
    count = torch.cuda.device_count()
    if count > 1 and not ranks.launched():
        logger.warning("one of %d GPUs is used; flipkd train --num_processes %d uses all", count, count)
