"""Settings of the commands that export, verify and publish a matcher."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flipkd.command_config.fields import ARGUMENT, BaseModel, BatchSize, MatcherFolder
from flipkd.setting_fields import Columns
from flipkd.settings import Settings


class ExportConfig(Settings):
    """Settings of `flipkd export`."""

    matcher: MatcherFolder
    to: Literal[
        "merged", "adapter", "sentence-transformers", "sequence-classification", "text-encoder", "onnx", "gguf"
    ] = Field(
        description="format: merged, adapter, sentence-transformers, sequence-classification, text-encoder, onnx or gguf"
    )
    output_dir: str = Field(description="output folder for the export")
    dtype: Literal["bfloat16", "float16", "float32", "int8"] | None = Field(
        None,
        description="type of the exported weights; default: that of the matcher if the format has it; int8 is for onnx, gguf",
    )
    pairs: str | None = Field(
        None, description="pairs to check the export with, labels are optional; default: a few neutral pairs"
    )
    columns: Columns = None
    base_model: str | None = Field(
        None, description="new path of the base model, if it has moved; or its hub id, which an adapter needs"
    )
    batch_size: BatchSize = None


class VerifyConfig(Settings):
    """Settings of `flipkd verify`."""

    export: str = ARGUMENT(description="folder of an export, made by flipkd export")
    against: str = Field(
        description="matcher that the export was made from: its folder, or its id on the hub: OWNER/NAME"
    )
    pairs: str | None = Field(None, description="pairs to score, labels are optional; default: a few neutral pairs")
    columns: Columns = None
    base_model: BaseModel = None
    batch_size: BatchSize = None


class PushConfig(Settings):
    """Settings of `flipkd push`."""

    matcher: str = Field(description="matcher folder, made by flipkd train")
    repo_id: str = Field(description="repository of the hub, OWNER/NAME; it is created if it does not exist")
    revision: str | None = Field(None, description="branch, created if it does not exist; default: main")
    private: bool = Field(False, description="only you and your organisation see the repository")
    commit_message: str | None = Field(None, description="first line of the commit")
    base_model: str | None = Field(
        None, description="hub id of the base model; needed when the matcher was trained on a folder"
    )
    language: list[str] = Field([], description="languages of the texts for the card, as ISO codes: en")
    license: str | None = Field(None, description="license for the card, by the hub's identifier: apache-2.0")
    datasets: list[str] = Field([], description="hub ids of the training data for the card")
