"""Is a base model the one of training? Its weights have a hash; here its config, which says what is computed with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flipkd.artefacts import check_values, library_errors
from flipkd.errors import ArtefactError, shorten

# Keys of a config.json that change no score: names, versions, words for outputs, generation, training, and the dtype, which
# is the matcher's own. All others count.
HARMLESS = frozenset(
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


def config_of(config: Any) -> dict[str, Any]:
    """The values of a config of transformers, defaults included, as JSON has them, without HARMLESS at any depth."""
    found: dict[str, Any] = _counting(json.loads(config.to_json_string(use_diff=False)))
    return found


def require_config(found: Any, stored: dict[str, Any], *, file: Path, name: str) -> None:
    """Raise ArtefactError naming the first key in which the config of `name` differs from what `file` stored of the base.

    Both are completed by the transformers that is installed, so another version or a base that was saved again is no fault.
    """
    check_values(file, stored)
    if stored.get("model_type") != found.model_type:
        raise ArtefactError(
            f"{name}: is a {found.model_type}, but {file} says that its base is a {shorten(stored.get('model_type'))}; "
            "give the base model that it was trained on"
        )
    with library_errors(file, "its base_config cannot be read"):
        expected = config_of(type(found).from_dict(dict(stored)))
    for key, value in config_of(found).items():
        if value != expected.get(key):
            raise ArtefactError(
                f"{name}: its config.json gives {key} as {shorten(value)}, which was {shorten(expected.get(key))} at "
                f"training; give the base model that {file.parent} was trained on"
            )


def _counting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _counting(part) for key, part in value.items() if key not in HARMLESS}
    return [_counting(part) for part in value] if isinstance(value, list) else value
