"""Settings of `flipkd diagnose`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flipkd.command_config.fields import ARGUMENT, Count
from flipkd.setting_fields import Columns, Seed
from flipkd.settings import Settings


class DiagnoseConfig(Settings):
    """Settings of `flipkd diagnose`."""

    kind: Literal["domain", "aliases", "analogies", "layers", "students"] = ARGUMENT(
        description="what to measure: domain, aliases, analogies, layers or students"
    )
    pairs: str | None = Field(None, description="file of pairs; not for aliases")
    columns: Columns = None
    teacher: str | None = Field(
        None, description="teacher folder (flipkd teach) of a bi-encoder, whose vectors are read"
    )
    other_file: str | None = Field(None, description="domain: pairs of another domain, or new pairs to judge")
    texts: str | None = Field(None, description="aliases: file of names with a column of groups")
    group: str = Field("group", description="aliases: column whose equal values name the same thing")
    models: list[str] = Field(
        [], description="layers, students: matchers, or causal LMs by packaged name, hub id or folder"
    )
    limit: Count = Field(1000, description="maximum number of pairs that the models read, a random sample")
    output: str | None = Field(None, description="JSON file for the result")
    seed: Seed = 0
