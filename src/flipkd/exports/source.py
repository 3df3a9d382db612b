"""Source of an export: a loaded matcher, and its model with LoRA merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flipkd.errors import ConfigError
from flipkd.matcher import Matcher
from flipkd.models import SOURCES
from flipkd.student.contract import ScoreContract
from flipkd.student.language_model import DTYPES
from flipkd.student.loading import load_student
from flipkd.student.prompt import Prompt


@dataclass
class Source:
    """A matcher to export: `folder` is its folder, `base` the hub id of its base model or None if that is unknown."""

    matcher: Matcher
    folder: Path
    dtype: str
    base: str | None = None
    base_path: str | None = None
    """Location of the base model where it is not the one in matcher.json."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further facts for the record of the export; a format's `write` adds them and its `load` reads them."""

    @property
    def contract(self) -> ScoreContract:
        """The score contract of the matcher."""
        return self.matcher.contract

    @property
    def prompt(self) -> Prompt:
        """The prompt of the matcher."""
        return self.matcher.student.prompt

    def merged_model(self) -> Any:
        """Merge LoRA into the weights in float32, round once to `dtype`, and return the causal LM of transformers.

        The weights of the matcher become those of the result: use the matcher before.
        """
        student = self.matcher.student
        if self.contract.load_in_4bit:  # whose layers cannot be converted; they are dequantized before
            merged = load_student(self.folder, base_model=self.base_path, merge=True)[0].model
        else:
            student.adapters.release()
            merged = student.model.float().merge_and_unload()
        model = merged.to("cpu", DTYPES[self.dtype])
        model.config.dtype = DTYPES[self.dtype]
        model.config.use_cache = True
        return model


def base_location(given: str | None, contract: ScoreContract) -> str | None:
    """Return where to load the base model from; None for the place in matcher.json.

    A hub id is used where that folder does not exist; else it is only the name in the export.
    """
    name = contract.base_model_name_or_path
    known = name in SOURCES or Path(name).is_dir()
    return given if given is not None and (Path(given).is_dir() or not known) else None


def public_contract(contract: ScoreContract, base: str | None) -> ScoreContract:
    """Return the contract with the base model's hub id, or the last part of its path, in the place of its path."""
    name = base or Path(contract.base_model_name_or_path).name
    return contract.model_copy(update={"base_model_name_or_path": name})


def require_dtype(dtype: str | None, contract: ScoreContract, allowed: tuple[str, ...]) -> str:
    """Return the dtype of the export, by default the matcher's, or the first of the format if it does not have that one.

    Raises ConfigError for a given one that the format does not have.
    """
    chosen = dtype or (contract.dtype if contract.dtype in allowed else allowed[0])
    if chosen not in allowed:
        raise ConfigError(f"dtype is {chosen!r}, which this format does not have; allowed: {', '.join(allowed)}")
    return chosen
