"""TrainingArguments are transformers' own, but for what flipkd needs and what it refuses."""

import dataclasses

import pytest
from transformers import TrainingArguments

from flipkd.config import TrainConfig
from flipkd.errors import ConfigError
from flipkd.training import fsdp
from flipkd.training.arguments import NOT_HERE, training_arguments
from flipkd.training.processes import BY_ARGUMENT

FIXED = {"output_dir", "remove_unused_columns", "label_names", "logging_nan_inf_filter"}
# Fields that transformers gets as they are given; each was seen to train.
TRAINER_FIELDS = {
    *("max_steps", "lr_scheduler_kwargs", "optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("average_tokens_across_devices", "bf16", "fp16", "tf32", "activation_checkpointing_kwargs"),
    *("gradient_checkpointing", "gradient_checkpointing_kwargs", "torch_empty_cache_steps", "auto_find_batch_size"),
    *("logging_strategy", "logging_first_step", "log_on_each_node", "include_num_input_tokens_seen", "log_level"),
    *("log_level_replica", "disable_tqdm", "run_name", "project", "trackio_space_id", "trackio_bucket_id"),
    *("trackio_static_space_id", "save_strategy", "save_on_each_node", "full_determinism", "use_cpu", "do_train"),
    *("dataloader_drop_last", "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"),
    *("dataloader_prefetch_factor", "dataloader_multiprocessing_context", "dataloader_in_order"),
    *("ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_static_graph", "ddp_backend"),
    *("ddp_timeout", "debug", "skip_memory_metrics"),
}
SETTINGS = set(TrainConfig.model_fields) & set(TrainingArguments.__dataclass_fields__)
OTHER = {"eval_strategy": "epoch", "include_for_metrics": ["loss"], "train_sampling_strategy": "sequential"}


def test_training_arguments_returns_transformers_arguments(tmp_path):
    assert training_arguments(tmp_path, {"optim": "sgd", "report_to": "none"}).optim == "sgd"
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        training_arguments(tmp_path, {"learning_rat": 1})
    with pytest.raises(ConfigError, match="transformers refuses"):
        training_arguments(tmp_path, {"logging_strategy": "sometimes"})


def test_training_arguments_use_one_gpu_per_process(tmp_path, monkeypatch):
    monkeypatch.setattr(
        TrainingArguments,
        "_setup_devices",
        property(lambda self: self.__dict__.update(_n_gpu=4, distributed_state=None)),
    )
    assert TrainingArguments(output_dir=str(tmp_path)).n_gpu == 4
    arguments = training_arguments(tmp_path, {})
    monkeypatch.undo()
    assert arguments._n_gpu == 1


@pytest.mark.parametrize("name", ["output_dir", "remove_unused_columns", "label_names", "logging_nan_inf_filter"])
def test_training_arguments_refuses_fixed_fields(tmp_path, name):
    with pytest.raises(ConfigError, match=f"training_arguments.{name} cannot be set"):
        training_arguments(tmp_path, {name: "x"})


def test_training_arguments_override_the_defaults(tmp_path):
    default = training_arguments(tmp_path, {})
    assert (default.save_strategy, default.disable_tqdm) == ("steps", False)
    given = training_arguments(tmp_path, {"save_strategy": "no", "disable_tqdm": True})
    assert (given.save_strategy, given.disable_tqdm) == ("no", True)


def test_training_arguments_pass_set_or_refuse_every_field_of_transformers():
    fields = set(TrainingArguments.__dataclass_fields__)
    assert fields == FIXED | TRAINER_FIELDS | SETTINGS | set(NOT_HERE) | set(BY_ARGUMENT) | fsdp.ARGUMENTS
    assert not (FIXED | SETTINGS - {"torch_compile"} | set(BY_ARGUMENT)) & set(NOT_HERE)
    assert not TRAINER_FIELDS & (FIXED | SETTINGS | set(NOT_HERE) | set(BY_ARGUMENT) | fsdp.ARGUMENTS)


@pytest.mark.parametrize("name", NOT_HERE)
def test_training_arguments_refuses_unsupported_fields_but_not_their_default(tmp_path, name):
    field = TrainingArguments.__dataclass_fields__[name]
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    with pytest.raises(ConfigError, match=f"training_arguments.{name} cannot be set: .*; leave it out"):
        training_arguments(tmp_path, {name: OTHER.get(name, (not default) if isinstance(default, bool) else 5)})
    training_arguments(tmp_path, {name: default})


@pytest.mark.parametrize(
    "given, said",
    [
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "lr_scheduler_type=cosine_with_min_lr.*lr_scheduler_kwargs"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "lr_scheduler_type=warmup_stable_decay.*num_decay_steps"),
        ({"lr_scheduler_kwargs": {"num_cycles": 1}}, "lr_scheduler_kwargs=.*num_cycles"),
        ({"optim": "grokadamw"}, r"training_arguments\.optim=grokadamw"),
        ({"optim": "adamw_anyprecision"}, r"training_arguments\.optim=adamw_anyprecision"),
        ({"optim": "sgd", "optim_args": "momentum"}, r"training_arguments\.optim=sgd, optim_args=momentum"),
        ({"dataloader_persistent_workers": True}, "dataloader_persistent_workers needs .*num_workers"),
        ({"dataloader_multiprocessing_context": "fork"}, "dataloader_multiprocessing_context needs .*num_workers"),
        ({"dataloader_multiprocessing_context": "spawn", "dataloader_num_workers": 1}, "set it to fork"),
        ({"save_strategy": "best"}, "save_strategy cannot be best|save_strategy"),
    ],
)
def test_training_arguments_refuses_values_that_would_crash_later(tmp_path, given, said):
    with pytest.raises(ConfigError, match=said):
        training_arguments(tmp_path, given)


@pytest.mark.parametrize(
    "given",
    [
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-6}},
        {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 2}},
        {"optim": "adafactor"},
        {"optim": "sgd", "optim_args": "momentum=0.9"},
        {"dataloader_persistent_workers": True, "dataloader_num_workers": 1},
        {"save_strategy": "epoch"},
    ],
)
def test_training_arguments_accepts_supported_values(tmp_path, given):
    training_arguments(tmp_path, given)
