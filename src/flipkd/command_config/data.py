"""Settings of the commands that check and split pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flipkd.command_config.fields import ARGUMENT, Share
from flipkd.setting_fields import Columns, Directed, Seed
from flipkd.settings import Settings


class CheckConfig(Settings):
    """Settings of `flipkd check`."""

    files: list[str] = ARGUMENT(min_length=1, description="files of pairs: csv, tsv, jsonl, parquet or hub ids")
    columns: Columns = None
    tokenizer: str | None = Field(None, description="model whose tokenizer counts the lengths")
    directed: Directed = False


class SplitConfig(Settings):
    """Settings of `flipkd split`."""

    pairs: str = ARGUMENT(description="file of pairs")
    columns: Columns = None
    output_dir: str = Field("data", description="output folder for the three files")
    by: Literal["text1", "text2", "group"] | None = Field(
        None,
        description="column whose equal values stay in one part, e.g. text1 for an FAQ; default: every shared text and group",
    )
    validation: Share = Field(0.1, description="share of validation pairs")
    test: Share = Field(0.2, description="share of test pairs")
    seed: Seed = 0
