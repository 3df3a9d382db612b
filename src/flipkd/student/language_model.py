"""Load and hash any causal LM of transformers, and add LoRA from peft."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from flipkd.artefacts import check_model_folder, checked_model, library_errors, load_lock
from flipkd.config import StudentConfig
from flipkd.device import best_device
from flipkd.errors import ArtefactError, ConfigError, ResourceError, nearest, reason_of
from flipkd.files import read_json
from flipkd.models import model_path
from flipkd.student.attention import AUTO, GROUPED, PACKED, choose_attention
from flipkd.student.lora import fuse
from flipkd.student.norms import fuse_norms
from flipkd.student.readout import find_readout_modules, linear_modules, require_layer

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}
ADAPTER = "adapter"
NOT_A_MODEL = "not a causal LM that transformers can load"
SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


@load_lock()
def load_language_model(name_or_path: str, *, dtype: str = "bfloat16", attn_implementation: str = AUTO) -> Any:
    """Load a frozen causal LM by packaged name, hub id or folder; no remote code is executed.

    Raises ArtefactError when transformers cannot load it as a causal LM, ResourceError when memory runs out.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype is {dtype!r}, which is not supported; {nearest(dtype, list(DTYPES))}")
    path = model_path(name_or_path)
    revision = checked_model(path).revision
    if Path(path).is_dir() and not (Path(path) / "config.json").is_file():
        raise ArtefactError(f"{name_or_path}: the folder has no config.json; give the folder of a transformers model")
    with library_errors(name_or_path, NOT_A_MODEL):
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    with library_errors(name_or_path, NOT_A_MODEL), memory_errors(name_or_path, dtype=dtype):
        model, loading = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            revision=revision,
            output_loading_info=True,
            dtype=DTYPES[dtype],
            attn_implementation=None if attn_implementation in (AUTO, GROUPED, PACKED) else attn_implementation,
            trust_remote_code=False,
            use_safetensors=True,  # without it transformers would unpickle a pytorch_model.bin
        )
    if missing := sorted(loading["missing_keys"]):  # transformers would fill them with random numbers
        raise ArtefactError(
            f"{name_or_path}: not a complete causal LM: {len(missing)} tensors of the model are missing, first {missing[0]}; "
            "give a complete model"
        )
    model.config.use_cache = False
    choose_attention(model, attn_implementation)
    model.eval().requires_grad_(False)
    if best_device().startswith("cuda"):
        fuse_norms(model)
    return model


def load_tokenizer(name_or_path: str) -> Any:
    """Load the tokenizer of a model by packaged name, hub id or folder. Raises ArtefactError when that fails."""
    path = model_path(name_or_path)
    revision = checked_model(path).revision
    with library_errors(name_or_path, "no tokenizer that transformers can load"):
        return AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)


def load_saved_tokenizer(folder: Path) -> Any:
    """Load the tokenizer in a matcher folder directly from its tokenizer.json.

    AutoTokenizer reads that file up to five times, which for Gemma's 33 MB is most of the time to load a matcher.
    """
    check_model_folder(folder)
    file, settings = folder / "tokenizer.json", folder / "tokenizer_config.json"
    given = read_json(settings) if file.is_file() and settings.is_file() else {}
    named = {name: given[name] for name in SPECIAL_TOKENS if given.get(name) is not None}
    if not given or not all(isinstance(token, str) for token in named.values()):
        return load_tokenizer(str(folder))  # another format, or special tokens with options
    with library_errors(folder, "no tokenizer that transformers can load"):
        return PreTrainedTokenizerFast(tokenizer_file=str(file), **named)


@contextlib.contextmanager
def memory_errors(name_or_path: str, *, dtype: str) -> Iterator[None]:
    """Raise ResourceError when the block, which loads or moves a model, runs out of memory."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ResourceError(
            f"{name_or_path}: does not fit into memory as {dtype}; set load_in_4bit on a GPU, or use a smaller model"
        ) from error


def weights_hash(model: nn.Module, *, dtype: str) -> str:
    """Return the hash of all parameters in `dtype`; it does not depend on how the model is loaded later."""
    import xxhash

    digest = xxhash.xxh3_128()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        data = parameter.detach().to("cpu", DTYPES[dtype]).contiguous()
        digest.update(data.view(-1).view(torch.uint8).numpy().data)
    return f"xxh3_128:{dtype}:{digest.hexdigest()}"


def add_lora(model: Any, config: StudentConfig) -> tuple[Any, list[str]]:
    """Add float32 adapters to `model`; return it and the names of its readout modules.

    Raises ConfigError for layers or modules that the model does not have, or that peft refuses.
    """
    module_names = find_readout_modules(model, layers=config.readout_layers, modules=config.readout_modules)
    rank_pattern = {re.escape(name): config.readout_r for name in module_names}
    scaling = config.lora_alpha / config.lora_r
    targets = lora_targets(model, config, module_names)
    peft_config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=targets,
        fan_in_fan_out=all(isinstance(model.get_submodule(target), Conv1D) for target in targets),  # of GPT-2
        rank_pattern=rank_pattern,
        alpha_pattern={name: scaling * rank for name, rank in rank_pattern.items()},
    )
    try:
        return with_adapters(model, peft_config), module_names
    except ValueError as error:  # for example of Mamba, whose kernels read the weights of some modules directly
        raise ConfigError(
            f"peft does not adapt these modules of {type(model).__name__} ({reason_of(error)}); set lora_target_modules and "
            "readout_modules to others"
        ) from error


def compile_layers(model: Any) -> None:
    """Compile each layer with torch.compile; the first steps then take a minute or more.

    The layers are alike, so one compilation serves all of them, any batch size and any length. Raises ConfigError on a CPU
    without a C++ compiler.
    """
    compilers = (os.environ.get("CXX", "g++"), "clang++")
    if not torch.cuda.is_available() and not any(map(shutil.which, compilers)):
        raise ConfigError(
            "torch_compile needs a C++ compiler (g++ or clang++) on the PATH; install one or set it to false"
        )
    for module in model.modules():
        # The base class of the layers in all models of transformers.
        if isinstance(module, GradientCheckpointingLayer):
            module.compile(dynamic=True)


@contextlib.contextmanager
def quiet_peft() -> Iterator[None]:
    """Context manager without the warning that peft 0.21 causes by a deprecated attribute of transformers 5.23."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def with_adapters(model: Any, config: Any) -> Any:
    """Add float32 adapters to `model` by peft's `config`; lora.py replaces the forward pass of their layers."""
    with quiet_peft():
        peft_model = get_peft_model(model, config)
    for module in peft_model.modules():
        if hasattr(module, "lora_A"):
            # Layers that lora.py does not fuse run under autocast in the base model's dtype. peft would first make a float32
            # copy of every input, which costs more than the products.
            module.cast_input_dtype_enabled = False
    fuse(peft_model)
    return peft_model


def lora_targets(model: Any, config: StudentConfig, module_names: Sequence[str]) -> list[str]:
    """Return the full names of all modules that get LoRA: those of `config`, and always the readout modules."""
    linear = linear_modules(model)
    count = max(linear.values()) + 1
    names = sorted({name.rsplit(".", 1)[-1] for name in linear})
    modules = names if config.lora_target_modules == "all-linear" else list(config.lora_target_modules)
    for module in modules:
        if module not in names:
            raise ConfigError(
                f"lora_target_modules has {module!r}, which is not in this model; {nearest(module, names)}, or set it to "
                "all-linear"
            )
    for layer in config.lora_layers or ():
        require_layer(layer, count, setting="lora_layers")
    layers = range(count) if config.lora_layers is None else [layer % count for layer in config.lora_layers]
    chosen = {name for name, layer in linear.items() if layer in layers and name.rsplit(".", 1)[-1] in modules}
    return sorted(chosen | set(module_names))
