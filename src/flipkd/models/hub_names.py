"""Names and licences of models as the hub knows them, for cards and adapters that leave this machine."""

from __future__ import annotations

import re
from pathlib import Path

from flipkd.hub import is_repository, repository_of

PACKAGED = {  # packaged name -> id of the original, identifier of its licence
    "gemma-3-270m": ("google/gemma-3-270m", "gemma"),
    "all-MiniLM-L6-v2": ("sentence-transformers/all-MiniLM-L6-v2", "apache-2.0"),
    "multilingual-e5-small": ("intfloat/multilingual-e5-small", "mit"),
}
GEMMA = ("gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "gemma3n_text")  # model types under the Gemma terms


def hub_id(name: str) -> str | None:
    """Return the hub id of a model by packaged name, hub id or folder; None for a folder that the hub did not give."""
    if name in PACKAGED:
        return PACKAGED[name][0]
    if Path(name).is_dir():
        return repository_of(Path(name).resolve())
    return name if is_repository(name) or re.fullmatch(r"[\w-][\w.-]*", name, re.ASCII) else None


def public_name(name: str) -> str:
    """Return a model's hub id, or the last part of its path: a card must not show folders of this machine."""
    return hub_id(name) or Path(name).resolve().name


def licence_of(name: str, *, model_type: str | None = None) -> str | None:
    """Return the hub's identifier of a model's licence: of a packaged model, from the card in its folder, or by its type.

    None when it is unknown.
    """
    if name in PACKAGED:
        return PACKAGED[name][1]
    return _licence_in(Path(name) / "README.md") or ("gemma" if model_type in GEMMA else None)


def _licence_in(card: Path) -> str | None:
    import yaml
    from huggingface_hub.repocard import metadata_load

    try:
        found = metadata_load(card) if card.is_file() else None
    except (OSError, ValueError, yaml.YAMLError):
        return None
    licence = (found or {}).get("license")
    return None if licence is None else str(licence)
