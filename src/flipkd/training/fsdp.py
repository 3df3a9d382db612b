"""FSDP by accelerate's configuration or by transformers' arguments `fsdp` and `fsdp_config`: what flipkd reads and refuses.

flipkd shards the base itself (student/sharded.py): accelerate would shard the adapters as well, which the readout needs
outside of their layers, and it ignores FSDP on CPUs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from accelerate.utils import FullyShardedDataParallelPlugin
from transformers import TrainingArguments

from flipkd import ranks
from flipkd.errors import ConfigError

if TYPE_CHECKING:
    from flipkd.config import TrainConfig

LAUNCHED = "ACCELERATE_USE_FSDP"  # set by accelerate launch
ARGUMENTS = frozenset({"fsdp", "fsdp_config"})
NOT_WITH_FSDP = {
    "load_in_4bit": "bitsandbytes' packed weights and their scales cannot be divided; leave one of the two out",
    "torch_compile": "compiled layers are not tested with it; set torch_compile to false",
}


def shards_base(config: TrainConfig) -> bool:
    """Return whether a run shards its base model. Raises ConfigError for settings that do not work with that."""
    if not is_requested(config.training_arguments):
        return False
    refused = [name for name in NOT_WITH_FSDP if getattr(config, name)]
    if refused:
        raise ConfigError(f"FSDP does not work with {refused[0]}: {NOT_WITH_FSDP[refused[0]]}")
    return True


def is_requested(arguments: Mapping[str, Any]) -> bool:
    """Return whether accelerate's launcher or `arguments` (of transformers) ask for FSDP.

    Raises ConfigError for settings of FSDP that flipkd does not support, and for a single process.
    """
    if not arguments.get("fsdp") and os.environ.get(LAUNCHED, "").lower() not in ("true", "1"):
        return False
    try:
        plugin = _plugin(arguments)
    except (ValueError, OSError) as error:
        raise ConfigError(f"accelerate refuses the FSDP configuration: {error}") from None
    refused = [message for message, is_set in _unsupported(plugin).items() if is_set]
    if refused:
        raise ConfigError(f"FSDP: {refused[0]} (docs/gpu.md has a configuration that works)")
    if not ranks.launched():
        raise ConfigError(
            "FSDP divides the base model among processes, and there is one; start several with accelerate launch, torchrun or "
            "--num_processes, or leave FSDP out"
        )
    return True


def _plugin(arguments: Mapping[str, Any]) -> Any:
    """Return accelerate's FullyShardedDataParallelPlugin, made of `arguments`, else of the launcher's environment."""
    if not arguments.get("fsdp"):
        return _version_2({"fsdp_version": int(os.environ.get("FSDP_VERSION", "1"))})
    config = arguments.get("fsdp_config")
    given = SimpleNamespace(  # what the method below reads of TrainingArguments, whose constructor would join the processes
        fsdp=arguments["fsdp"],
        fsdp_config=dict(config) if isinstance(config, Mapping) else config,  # transformers changes it
        activation_checkpointing=False,
        _apply_legacy_fsdp_to_config=TrainingArguments._apply_legacy_fsdp_to_config,
    )
    parsed = TrainingArguments._process_fsdp_args(given)
    if parsed is None:
        raise ConfigError("fsdp_config.xla is not supported; leave it out")
    return _version_2(parsed)


def _version_2(values: Mapping[str, Any]) -> Any:
    """Return accelerate's plugin of these values; it takes others from the environment."""
    if values["fsdp_version"] != 2:  # the plugin of version 1 needs a GPU
        raise ConfigError(f"FSDP: fsdp_version is {values['fsdp_version']}; set it to 2 (docs/gpu.md)")
    return FullyShardedDataParallelPlugin(**values)


def _unsupported(plugin: Any) -> dict[str, bool]:
    """Return message -> whether the plugin asks for it."""
    return {
        "fsdp_reshard_after_forward is false, so each process would gather the complete base; set it to true": (
            plugin.reshard_after_forward is False
        ),
        "fsdp_offload_params is not supported; set it to false, or use more processes": _offloads(plugin.cpu_offload),
        "fsdp_activation_checkpointing would checkpoint around the readout; set it to false, and flipkd's "
        "activation_checkpointing to true": plugin.activation_checkpointing,
        "fsdp_auto_wrap_policy is SIZE_BASED_WRAP, but flipkd gathers layer by layer; set TRANSFORMER_BASED_WRAP": (
            plugin.min_num_params is not None
        ),
        "fsdp_ignored_modules is not supported; leave it out": plugin.ignored_modules is not None,
    }


def _offloads(cpu_offload: Any) -> bool:
    # False, torch's CPUOffload (FSDP1) or a policy (FSDP2), of which only CPUOffloadPolicy offloads.
    return cpu_offload is True or type(cpu_offload).__name__ == "CPUOffloadPolicy"


@contextlib.contextmanager
def hidden_from_libraries() -> Iterator[None]:
    """Context manager in which transformers and accelerate do not see the launcher's FSDP, and shard nothing themselves."""
    before = os.environ.pop(LAUNCHED, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[LAUNCHED] = before
