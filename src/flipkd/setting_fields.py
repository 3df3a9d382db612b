"""Fields of settings that several commands share, and the panels of `--help` that list them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic import Field


def _field_in_panel(panel: str) -> Callable[..., Any]:
    """Return pydantic's Field with the panel of `--help` that lists the setting."""
    return partial(Field, json_schema_extra={"panel": panel})


DATA, MODEL, LORA = _field_in_panel("Data"), _field_in_panel("Model"), _field_in_panel("LoRA")
OBJECTIVES, TRAINING, SYSTEMS = _field_in_panel("Objectives"), _field_in_panel("Training"), _field_in_panel("Systems")
Columns = Annotated[
    dict[str, str] | None, Field(description="column names of the file, as text1=title; common names are detected")
]
Directed = Annotated[bool, Field(description="directed pairs: the label of (a, b) may differ from that of (b, a)")]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="seed of all random numbers")]
