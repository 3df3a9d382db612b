"""Build transformers' TrainingArguments from a user's fields, with those that flipkd fixes or refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments, get_scheduler

from flipkd.errors import ConfigError, nearest
from flipkd.training import fsdp, processes

REFUSED = "transformers refuses the training arguments"
MEASURES = "flipkd measures the finished matcher on validation, and does not evaluate during training"
RESUMES = "the same command resumes from its last checkpoint, with the complete state"
BATCHES = "flipkd makes the batches itself, grouped by length, with the setting seed"
MODULE = "it needs a model of transformers, and flipkd trains a module around one"
UPLOADS = "flipkd uploads nothing; upload the finished folder to the hub yourself"
# Fields of TrainingArguments that crash or have no effect here, with the reason; only transformers' default is allowed.
NOT_HERE = {
    **dict.fromkeys(("eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "do_eval", "do_predict"), MEASURES),
    **dict.fromkeys(("eval_do_concat_batches", "eval_use_gather_object", "eval_accumulation_steps"), MEASURES),
    **dict.fromkeys(("batch_eval_metrics", "include_for_metrics", "prediction_loss_only"), MEASURES),
    **dict.fromkeys(("bf16_full_eval", "fp16_full_eval"), MEASURES),
    "load_best_model_at_end": "use the setting select_checkpoint",
    **dict.fromkeys(("metric_for_best_model", "greater_is_better"), MEASURES),
    **dict.fromkeys(("resume_from_checkpoint", "ignore_data_skip", "save_only_model"), RESUMES),
    **dict.fromkeys(("restore_callback_states_from_checkpoint", "enable_jit_checkpoint"), RESUMES),
    **dict.fromkeys(("train_sampling_strategy", "length_column_name", "data_seed", "accelerator_config"), BATCHES),
    **dict.fromkeys(
        ("neftune_noise_alpha", "label_smoothing_factor", "use_liger_kernel", "liger_kernel_config"), MODULE
    ),
    **dict.fromkeys(("use_cache", "optim_target_modules"), MODULE),
    **dict.fromkeys(("push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy"), UPLOADS),
    **dict.fromkeys(("hub_always_push", "hub_revision"), UPLOADS),
    **dict.fromkeys(("torch_compile", "torch_compile_backend", "torch_compile_mode"), "use the setting torch_compile"),
    "local_rank": "the launcher sets it",
}


def training_arguments(output_dir: Path, arguments: Mapping[str, Any]) -> TrainingArguments:
    """Return TrainingArguments with the fields that flipkd fixes. Raises ConfigError for an unknown or refused field."""
    fields = sorted(TrainingArguments.__dataclass_fields__)
    for name in arguments:
        if name not in fields:
            raise ConfigError(f"training_arguments has no field {name!r}; {nearest(name, fields)}")
    fixed = {
        "output_dir": str(output_dir),
        "remove_unused_columns": False,
        "label_names": ["label"],
        "logging_nan_inf_filter": False,
    }
    if own := sorted(fixed.keys() & arguments.keys()):
        raise ConfigError(f"training_arguments.{own[0]} cannot be set: flipkd needs it to be {fixed[own[0]]!r}")
    for name, value in arguments.items():
        if name in NOT_HERE and value != _default(name):
            raise ConfigError(f"training_arguments.{name} cannot be set: {NOT_HERE[name]}; leave it out")
    defaults = {
        "dataloader_pin_memory": torch.cuda.is_available(),
        "save_strategy": "steps",
        "disable_tqdm": False,  # otherwise transformers' log level decides
    } | processes.defaults()
    processes.refuse_sharding(arguments)
    fsdp.is_requested(arguments)  # raises for what is not supported
    passed = {name: value for name, value in arguments.items() if name not in fsdp.ARGUMENTS}  # flipkd shards itself
    try:
        checked = TrainingArguments(**fixed | defaults | passed)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"{REFUSED}: {error}") from None
    processes.require_joined(checked)
    if (checked.activation_checkpointing_kwargs or {}).get("use_reentrant"):
        raise ConfigError(
            "training_arguments.activation_checkpointing_kwargs.use_reentrant cannot be true: the texts' embeddings would "
            "get no gradients; leave it out"
        )
    _require_loader(checked)
    _require_optimizer(checked)
    _require_schedule(checked)
    checked._n_gpu = min(checked.n_gpu, 1)  # with more GPUs the Trainer would copy the module without its hooks
    return checked


def _default(name: str) -> Any:
    field = TrainingArguments.__dataclass_fields__[name]
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _require_loader(checked: TrainingArguments) -> None:
    for name in ("dataloader_persistent_workers", "dataloader_multiprocessing_context"):
        if getattr(checked, name) and not checked.dataloader_num_workers:
            raise ConfigError(f"training_arguments.{name} needs training_arguments.dataloader_num_workers above 0")
    if (context := checked.dataloader_multiprocessing_context) not in (None, "fork"):
        raise ConfigError(
            f"training_arguments.dataloader_multiprocessing_context is {context}, but the student and its hooks cannot be sent "
            "to a new process; set it to fork, or leave it out"
        )
    if checked.save_strategy == "best":
        raise ConfigError(f"training_arguments.save_strategy cannot be best: {MEASURES}; allowed: steps, epoch, no")


def _require_optimizer(checked: TrainingArguments) -> None:
    """Build the optimizer once over one number. Raises ConfigError for a missing package or an unknown argument."""
    if "lomo" in checked.optim:  # needs the model
        return
    try:
        kind, settings = Trainer.get_optimizer_cls_and_kwargs(checked)
        kind([torch.nn.Parameter(torch.zeros(1, device=checked.device))], **settings)
    except (ImportError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ConfigError(
            f"{REFUSED}: training_arguments.optim={checked.optim.value}, optim_args={checked.optim_args}: {error}"
        ) from None


def _require_schedule(checked: TrainingArguments) -> None:
    optimizer, given = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]), checked.lr_scheduler_kwargs
    try:
        get_scheduler(
            checked.lr_scheduler_type,
            optimizer,
            num_warmup_steps=1,
            num_training_steps=10,
            scheduler_specific_kwargs=dict(given or {}),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{REFUSED}: lr_scheduler_type={checked.lr_scheduler_type.value}, "
            f"training_arguments.lr_scheduler_kwargs={given}: {error}"
        ) from None
