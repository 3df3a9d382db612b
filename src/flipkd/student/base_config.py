"""Check that a base model has the config of training. The hash covers only its weights; the config defines the computation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flipkd.artefacts import check_values, library_errors
from flipkd.errors import ArtefactError, shorten

# Keys of a config.json that change no score: names, versions, output options, generation, training, and the dtype, which
# matcher.json sets. All other keys are compared.
IGNORED_KEYS = frozenset(
    {
        *(
            "_name_or_path",
            "name_or_path",
            "transformers_version",
            "architectures",
            "dtype",
            "torch_dtype",
            "use_cache",
        ),
        *("id2label", "label2id", "problem_type", "bos_token_id", "eos_token_id", "pad_token_id", "tokenizer_class"),
        *("return_dict", "output_hidden_states", "initializer_range", "gradient_checkpointing", "auto_map"),
    }
)


def relevant_config(config: Any) -> dict[str, Any]:
    """Return the JSON values of a transformers config, defaults included, without IGNORED_KEYS at any depth."""
    values: dict[str, Any] = _relevant_keys(json.loads(config.to_json_string(use_diff=False)))
    return values


def require_config(found: Any, stored: dict[str, Any], *, file: Path, name: str) -> None:
    """Raise ArtefactError naming the first key in which the config of base model `name` differs from the one `stored` in `file`.

    The installed transformers fills in the defaults of both, so another version or a base that was saved again passes.
    """
    check_values(file, stored)
    if stored.get("model_type") != found.model_type:
        raise ArtefactError(
            f"{name}: is a {found.model_type}, but the base model in {file} is a {shorten(stored.get('model_type'))}; "
            "give the base model of training"
        )
    with library_errors(file, "its base_config cannot be read"):
        expected = relevant_config(type(found).from_dict(dict(stored)))
    for key, value in relevant_config(found).items():
        if value != expected.get(key):
            raise ArtefactError(
                f"{name}: {key} is {shorten(value)} in its config.json, but was {shorten(expected.get(key))} at "
                f"training; give the base model that {file.parent} was trained on"
            )


def _relevant_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _relevant_keys(part) for key, part in value.items() if key not in IGNORED_KEYS}
    return [_relevant_keys(part) for part in value] if isinstance(value, list) else value
