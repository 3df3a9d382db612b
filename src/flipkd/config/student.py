"""Settings of an untrained student: base model, prompt and LoRA."""

from __future__ import annotations

from typing import Literal

from flipkd.setting_fields import LORA, MODEL
from flipkd.settings import Settings


class StudentConfig(Settings):
    """Settings of an untrained student: base model, prompt and LoRA; the readout modules have a rank of their own."""

    model_name_or_path: str = MODEL("gemma-3-270m", description="causal LM: packaged name, hub id or folder")
    dtype: Literal["bfloat16", "float32", "float16"] = MODEL(
        "bfloat16", description="data type of the base model; adapters are float32"
    )
    load_in_4bit: bool = MODEL(
        False,
        description="4-bit (NF4) linear layers of the base model: a quarter of their memory; needs flipkd[bnb]",
    )
    attn_implementation: str = MODEL(
        "auto", description="attention implementation of transformers; auto: the fastest for the device"
    )
    torch_compile: bool = MODEL(
        False,
        description="compiled layers: faster steps after a compilation of a minute or more; needs a C++ compiler on a CPU",
    )
    template: dict[str, str] = MODEL(
        {}, description="changed fields of the prompt template: instruction, left, right, question, no, yes"
    )
    max_text_length: int = MODEL(128, ge=1, description="maximum tokens of each text")
    reading: Literal["joint", "separate", "blocked"] = MODEL(
        "joint",
        description="encoding of the texts for their embeddings: one prompt, a prompt each, or one prompt with a block mask",
    )
    lora_r: int = LORA(16, ge=1, description="rank of the LoRA adapters")
    lora_alpha: int = LORA(32, gt=0, description="LoRA alpha; the scale of all adapters is lora_alpha / lora_r")
    lora_dropout: float = LORA(0.0, ge=0, lt=1, description="dropout rate before the A matrix")
    lora_target_modules: Literal["all-linear"] | list[str] = LORA("all-linear", description="modules that get LoRA")
    lora_layers: list[int] | None = LORA(None, description="layers that get LoRA; default: all")
    readout_r: int = LORA(128, ge=1, description="LoRA rank of the readout modules")
    readout_layers: list[int] = LORA([-1], min_length=1, description="layers of the readout")
    readout_modules: list[str] = LORA(
        ["v_proj"], min_length=1, description="modules of the readout, whose `A x` is the embedding"
    )
    allow_readout_off_path: bool = LORA(
        False, description="allow readout modules whose A x cannot affect the answer; otherwise they are an error"
    )
