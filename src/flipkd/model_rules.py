"""Rules for the files of a model folder: the values that a key may have where a library would import, download or unpickle.

transformers, peft and sentence-transformers import classes, download kernels and unpickle weights that a file of the model
names. The lists come from reading transformers 5.23, peft 0.21 and sentence-transformers 6.2. Keys without a rule are left
to the library.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from flipkd.errors import shorten

ATTENTION = (None, "eager", "sdpa", "flex_attention")
MODULES = (
    *("Transformer", "Pooling", "Dense", "Normalize", "Dropout", "LayerNorm", "WeightedLayerPooling", "LogitScore"),
    *("StaticEmbedding", "Router", "Asym", "WordEmbeddings", "WordWeights", "BoW", "CNN", "LSTM", "CLIPModel"),
)
ACTIVATIONS = (
    *("Identity", "Sigmoid", "Tanh", "ReLU", "GELU", "SiLU", "ELU", "LeakyReLU", "Mish", "Softplus", "Softmax"),
)
WORD_TOKENIZERS = ("WhitespaceTokenizer", "PhraseTokenizer")
# Arguments that the files of a SentenceTransformer may pass to `from_pretrained` of transformers.
ARGUMENTS = (
    *("attn_implementation", "dtype", "torch_dtype", "add_pooling_layer", "output_hidden_states", "use_cache"),
    *("is_causal", "model_max_length", "max_length", "padding", "padding_side", "truncation", "truncation_side"),
    *("use_fast", "do_lower_case", "add_eos_token", "add_bos_token", "clean_up_tokenization_spaces"),
    *("trust_remote_code", "use_safetensors"),
)

Rule = tuple[Callable[[Any], bool], str]  # (is the value allowed, the allowed values for the error message)


def _is_empty(value: Any) -> bool:
    return value in (None, False, {}, [])


def _is_class_of(package: str, names: tuple[str, ...]) -> Callable[[Any], bool]:
    """A check that a value is the dotted name of a class in `names`, at any depth of `package`."""
    pattern = re.compile(rf"{package}\.(?:\w+\.)*(?:{'|'.join(names)})")
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_undotted_or(is_class: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A check that also accepts None and names without a dot, which the library looks up in a table of its own."""
    return lambda value: value is None or (isinstance(value, str) and "." not in value) or is_class(value)


def _is_attention(value: Any) -> bool:
    return all(_is_attention(part) for part in value.values()) if isinstance(value, dict) else value in ATTENTION


def _are_arguments(value: Any) -> bool:
    plain = isinstance(value, dict) and all(
        isinstance(part, bool | int | float | str | None) for part in value.values()
    )
    return value is None or (plain and set(value) <= set(ARGUMENTS))


def _is_safetensors_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[^/\\]+\.safetensors", value) is not None


NOTHING: Rule = (_is_empty, "nothing")
ATTENTIONS: Rule = (_is_attention, "eager, sdpa, flex_attention; set any other with the setting attn_implementation")
ACTIVATION: Rule = (
    _is_undotted_or(_is_class_of(r"torch\.nn", ACTIVATIONS)),
    f"torch.nn and one of {', '.join(ACTIVATIONS)}",
)
MODULE: Rule = (
    _is_class_of("sentence_transformers", MODULES),
    f"sentence_transformers and one of {', '.join(MODULES)}",
)
TOKENIZER: Rule = (
    _is_undotted_or(_is_class_of("sentence_transformers", WORD_TOKENIZERS)),
    f"a class of transformers, or sentence_transformers and one of {', '.join(WORD_TOKENIZERS)}",
)
ARGUMENT: Rule = (_are_arguments, f"plain values of {', '.join(ARGUMENTS)}")
METHOD: Rule = (
    lambda value: isinstance(value, str) and re.fullmatch(r"forward|get_\w+_features", value) is not None,
    "forward, get_..._features",
)
SHARDS: Rule = (
    lambda value: isinstance(value, dict) and all(map(_is_safetensors_name, value.values())),
    "names of .safetensors files of the same folder",
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(
        ("trust_remote_code", "quantization_config", "custom_generate", "gguf_file", "adapter_kwargs"), NOTHING
    ),
    **dict.fromkeys(
        ("kernel_config", "use_kernels", "allow_all_kernels", "fusion_config", "audio_tokenizer"), NOTHING
    ),
    **dict.fromkeys(("tokenizer_name_or_path", "base_model_name_or_path", "auto_mapping", "megatron_config"), NOTHING),
    **dict.fromkeys(("attn_implementation", "_attn_implementation", "_attn_implementation_internal"), ATTENTIONS),
    **dict.fromkeys(("activation_function", "activation_fn", "sbert_ce_default_activation_function"), ACTIVATION),
    **dict.fromkeys(("model_kwargs", "processor_kwargs", "config_kwargs"), ARGUMENT),
    **dict.fromkeys(("model_args", "tokenizer_args", "config_args"), ARGUMENT),
    "transformers_weights": (
        lambda value: value is None or _is_safetensors_name(value),
        "the name of a .safetensors file",
    ),
    "tokenizer_class": TOKENIZER,
}
# Rules for keys that have another meaning in some files, by a pattern of the file's name.
RULES_OF_FILES: dict[str, dict[str, Rule]] = {
    "modules.json": {"type": MODULE},
    r"sentence_[\w-]+_config.json": {"method": METHOD},
    r".*\.safetensors\.index\.json": {"weight_map": SHARDS},
}


def known_model_type(model_type: Any) -> Rule:
    """Rule for `auto_map`: allowed where transformers has a class for `model_type`.

    transformers then uses its own class and leaves the model's code alone, since trust_remote_code is false.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    known = isinstance(model_type, str) and model_type in CONFIG_MAPPING_NAMES
    return lambda _: known, f"nothing, since transformers has no class of its own for model_type {shorten(model_type)}"
