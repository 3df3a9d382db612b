"""Model folders before and while a library reads them: nothing in them may choose code to run, and what fails names the file.

transformers, peft and sentence-transformers import classes, download kernels and unpickle weights where a file of the model
says so. Such keys are held to lists here; the rest of a file is the library's. The lists come from reading transformers 5.23,
peft 0.21 and sentence-transformers 6.2.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

from flipkd.errors import ArtefactError, FlipkdError, RefusedError, ResourceError, shorten
from flipkd.files import read_json

MATCHER, ADAPTER = "matcher.json", "adapter_config.json"
PICKLED, WEIGHTS, INDEX = "pytorch_model.bin", "model.safetensors", "model.safetensors.index.json"
NOT_SETTINGS = ("tokenizer.json", "vocab.json")  # read by the tokenizers library, which knows no code; up to 33 MB
ATTENTION = (None, "eager", "sdpa", "flex_attention")
MODULES = (
    *("Transformer", "Pooling", "Dense", "Normalize", "Dropout", "LayerNorm", "WeightedLayerPooling", "LogitScore"),
    *("StaticEmbedding", "Router", "Asym", "WordEmbeddings", "WordWeights", "BoW", "CNN", "LSTM", "CLIPModel"),
)
ACTIVATIONS = (
    "Identity",
    "Sigmoid",
    "Tanh",
    "ReLU",
    "GELU",
    "SiLU",
    "ELU",
    "LeakyReLU",
    "Mish",
    "Softplus",
    "Softmax",
)
WORD_TOKENIZERS = ("WhitespaceTokenizer", "PhraseTokenizer")
# Arguments that a SentenceTransformer's files may add to those of transformers' `from_pretrained`.
ARGUMENTS = (
    *("attn_implementation", "dtype", "torch_dtype", "add_pooling_layer", "output_hidden_states", "use_cache"),
    *("is_causal", "model_max_length", "max_length", "padding", "padding_side", "truncation", "truncation_side"),
    *("use_fast", "do_lower_case", "add_eos_token", "add_bos_token", "clean_up_tokenization_spaces"),
    *("trust_remote_code", "use_safetensors"),
)

COUNT = re.compile(r"(num|n)_\w*(layers?|experts)")  # each takes a loop over modules to build
MOST_PARTS = 10_000

Rule = tuple[Callable[[Any], bool], str]


def _nothing(value: Any) -> bool:
    return value in (None, False, {}, [])


def _class_of(package: str, names: tuple[str, ...]) -> Callable[[Any], bool]:
    pattern = re.compile(rf"{package}\.(?:\w+\.)*(?:{'|'.join(names)})")
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _or_plain(is_class: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Names without a dot are looked up in a table of the library."""
    return lambda value: value is None or (isinstance(value, str) and "." not in value) or is_class(value)


def _attention(value: Any) -> bool:
    return all(_attention(part) for part in value.values()) if isinstance(value, dict) else value in ATTENTION


def _arguments(value: Any) -> bool:
    plain = isinstance(value, dict) and all(
        isinstance(part, bool | int | float | str | None) for part in value.values()
    )
    return value is None or (plain and set(value) <= set(ARGUMENTS))


def _safetensors(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[^/\\]+\.safetensors", value) is not None


NOTHING: Rule = (_nothing, "nothing")
ATTENTIONS: Rule = (_attention, "eager, sdpa, flex_attention; others come from the setting attn_implementation alone")
ACTIVATION: Rule = (_or_plain(_class_of(r"torch\.nn", ACTIVATIONS)), f"torch.nn and one of {', '.join(ACTIVATIONS)}")
MODULE: Rule = (_class_of("sentence_transformers", MODULES), f"sentence_transformers and one of {', '.join(MODULES)}")
TOKENIZER: Rule = (
    _or_plain(_class_of("sentence_transformers", WORD_TOKENIZERS)),
    f"a class of transformers, or sentence_transformers and one of {', '.join(WORD_TOKENIZERS)}",
)
ARGUMENT: Rule = (_arguments, f"plain values of {', '.join(ARGUMENTS)}")
METHOD: Rule = (
    lambda value: isinstance(value, str) and re.fullmatch(r"forward|get_\w+_features", value) is not None,
    "forward, get_..._features",
)
SHARDS: Rule = (
    lambda value: isinstance(value, dict) and all(map(_safetensors, value.values())),
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
    "transformers_weights": (lambda value: value is None or _safetensors(value), "the name of a .safetensors file"),
    "tokenizer_class": TOKENIZER,
}
# Keys that mean something else in other files.
RULES_OF_FILES: dict[str, dict[str, Rule]] = {
    "modules.json": {"type": MODULE},
    r"sentence_[\w-]+_config.json": {"method": METHOD},
    r".*\.safetensors\.index\.json": {"weight_map": SHARDS},
}


class Checked(NamedTuple):
    """What may be read: this revision of a hub model, and the parts of it that are models of transformers ("": all of it)."""

    revision: str | None
    parts: list[str]


def check_model_folder(folder: Path) -> list[str]:
    """The parts of a model folder that are models of transformers, "" for the folder itself.

    Raises RefusedError where a file would choose code or weights are pickled, naming file and key; ArtefactError for an
    adapter or a matcher, which is no whole model, and for a file that is not JSON.
    """
    run = (folder / "matcher" / MATCHER).exists() and not (folder / "config.json").exists()
    if run or (folder / MATCHER).exists():
        raise ArtefactError(
            f"{folder}: a matcher of flipkd, not a model to start from; give the model that it was made of"
        )
    transformers, waiting = [] if (folder / "modules.json").exists() else [folder], [folder]
    seen: set[Path] = set()
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        if (here / ADAPTER).exists():
            raise ArtefactError(
                f"{here}: an adapter, not a whole model; merge it into its base and save that as one model"
            )
        for file in sorted(here.glob("*.json")):
            if file.name in NOT_SETTINGS:
                continue
            values = read_json(file)
            check_values(file, values)
            for part, is_transformer in _parts(file, values):
                waiting.append(here / part)
                transformers += [here / part] * is_transformer
    for here in seen:
        _refuse_pickles(here, is_transformer=here in transformers)
    return ["" if place == folder else place.relative_to(folder).as_posix() for place in transformers]


def _parts(file: Path, values: Any) -> Iterator[tuple[str, bool]]:
    """Folders of the modules that a SentenceTransformer's file names, and whether a module is transformers' own model."""
    if file.name == "modules.json" and isinstance(values, list):
        found = [(item.get("path"), item.get("type")) for item in values if isinstance(item, dict)]
    elif isinstance(values, dict) and isinstance(values.get("types"), dict):  # a Router's
        found = list(values["types"].items())
        for _, kind in found:
            _hold(file, "types", kind, MODULE)
    else:
        found = []
    for path, kind in found:
        if isinstance(path, str):
            below = PureWindowsPath(path)  # which knows both kinds of slashes
            if below.anchor or ".." in below.parts:
                raise RefusedError(f"{file}: path is {shorten(path)}; allowed: a folder below that of the model")
            yield path, str(kind).endswith(".Transformer")


def _refuse_pickles(folder: Path, *, is_transformer: bool) -> None:
    """A module that lacks model.safetensors is read from the pickled file; transformers' own takes shards as well."""
    whole = (folder / WEIGHTS).exists() or (is_transformer and (folder / INDEX).exists())
    if (folder / PICKLED).exists() and not whole:
        raise RefusedError(f"{folder / PICKLED}: pickled weights are not read; save the model again as safetensors")


def check_values(file: Path, values: Any) -> None:
    """Hold the values of a JSON file, however deep, to RULES. Raises RefusedError naming the key and what is allowed.

    Raises ArtefactError for more layers or experts than any model has: building them would not end.
    """
    own = [rules for pattern, rules in RULES_OF_FILES.items() if re.fullmatch(pattern, file.name)]
    rules = RULES | (own[0] if own else {})
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for key, part in value.items():
                if key in rules:
                    _hold(file, key, part, rules[key])
                if isinstance(part, int) and COUNT.fullmatch(key) and not 0 <= part <= MOST_PARTS:
                    raise ArtefactError(f"{file}: {key} is {part}; it must be from 0 to {MOST_PARTS}")
            if value.get("auto_map") and "model_type" in value:
                _hold(file, "auto_map", value["auto_map"], _own_class(value["model_type"]))
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _hold(file: Path, key: str, value: Any, rule: Rule) -> None:
    if not rule[0](value):
        raise RefusedError(
            f"{file}: {key} is {shorten(value)}; allowed: {rule[1]}. flipkd runs no code that a model brings or names"
        )


def _own_class(model_type: Any) -> Rule:
    """With a class of its own for the model, transformers leaves the model's code alone (trust_remote_code is false)."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    known = isinstance(model_type, str) and model_type in CONFIG_MAPPING_NAMES
    return lambda _: known, f"nothing, since transformers has no class of its own for model_type {shorten(model_type)}"


def checked_model(name: str) -> Checked:
    """Check a model folder, or the JSON files of a hub model, of which then that very revision must be read.

    Raises RefusedError and ArtefactError as `check_model_folder`, and ArtefactError for a model that cannot be had.
    """
    if Path(name).is_dir():
        return Checked(None, check_model_folder(Path(name)))
    from huggingface_hub import snapshot_download

    with library_errors(name, "a model that cannot be had"):
        folder = Path(snapshot_download(name, allow_patterns=["*.json"]))
    return Checked(folder.name, check_model_folder(folder))


@contextmanager
def library_errors(name: str | Path, what: str) -> Iterator[None]:
    """A block in which a library reads the files of `name`: whatever it raises becomes "NAME: WHAT (reason)".

    Raises ArtefactError, RefusedError for a model that wants to run its own code, ResourceError when memory or disk is full.
    """
    try:
        yield
    except FlipkdError:  # it says more already
        raise
    except Exception as error:
        raise _explained(error, name, what) from error


def _explained(error: Exception, name: str | Path, what: str) -> FlipkdError:
    reason = ascii(" ".join(str(error).split())[:200] or type(error).__name__)[1:-1]
    if (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    ):  # torch's, which need not be loaded
        return ResourceError(f"{name}: does not fit into memory; set load_in_4bit on a GPU, or use a smaller model")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(f"{name}: the disk is full; free some space, then run the same command")
    if "trust_remote_code" in str(error):
        return RefusedError(f"{name}: wants to run its own code, which flipkd does not do ({reason})")
    return ArtefactError(f"{name}: {what} ({reason})")
