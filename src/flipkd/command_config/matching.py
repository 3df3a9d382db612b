"""Settings of the commands that use a matcher on files."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from flipkd.command_config.fields import (
    ARGUMENT,
    BaseModel,
    BatchSize,
    Cascade,
    Count,
    Exact,
    Keep,
    MatcherFolder,
    Memory,
)
from flipkd.command_config.reviewing import NewQueue, ReviewSample
from flipkd.setting_fields import Columns
from flipkd.settings import Settings


class EvaluateConfig(Settings):
    """Settings of `flipkd evaluate`."""

    matcher: MatcherFolder
    test_file: str = Field(description="labelled pairs")
    columns: Columns = None
    base_model: BaseModel = None
    output: str | None = Field(None, description="JSON file for the metrics")
    report: str | None = Field(None, description="HTML file for the report")
    teacher: str | None = Field(
        None,
        description="teacher or matcher to compare with: how far this matcher follows its decisions and probabilities. The "
        "probabilities of a teacher are fitted on these pairs",
    )
    batch_size: BatchSize = None
    cascade: Cascade = False
    memory: Memory = None
    exact: Exact = False
    card: bool = Field(False, description="also write the metrics into the matcher's model card")


class CalibrateConfig(Settings):
    """Settings of `flipkd calibrate`."""

    matcher: MatcherFolder
    validation_file: str = Field(description="labelled pairs")
    output_dir: str = Field(description="output folder for the new matcher")
    threshold: str = Field(
        "f1", description="target of the match threshold: f1, accuracy, precision=P, recall=R or a number"
    )
    review: str | None = Field(
        None, description="target of the lower bound of the review band, e.g. recall=0.99; default: no review band"
    )
    score: Literal["answer", "cosine"] | None = Field(
        None,
        description="score of the new matcher: the answer alone, which other libraries compute, or the cosine alone; default: "
        "as in the matcher",
    )
    symmetric: bool | None = Field(
        None, description="mean score over both orders of a pair; default: as in the matcher"
    )
    cascade: float | None = Field(
        None, description="maximum loss of F1 by the cascade, for example 0.005; default: no cascade"
    )
    base_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share of matches among future pairs, for which probabilities and thresholds are corrected; "
        "default: that of these pairs",
    )
    columns: Columns = None
    base_model: BaseModel = None
    batch_size: BatchSize = None


class MatchConfig(Settings):
    """Settings of `flipkd match`."""

    matcher: MatcherFolder
    pairs: list[str] = ARGUMENT(
        [], description="file of pairs; with --output_dir several, patterns and s3:// addresses"
    )
    text1: str | None = Field(None, description="first text of a single pair, instead of a file")
    text2: str | None = Field(None, description="second text of a single pair")
    output: str | None = Field(None, description="output file (.csv or .jsonl); default: JSON lines on stdout")
    output_dir: str | None = Field(
        None, description="output folder for Parquet files, which takes any number of input files"
    )
    engine: Literal["local", "ray"] = Field("local", description="with --output_dir: this process, or a Ray cluster")
    workers: Count | None = Field(None, description="workers of the Ray cluster; default: one per GPU, or per 4 cores")
    rows_per_part: Count = Field(
        8192, description="with --output_dir: rows of an output file, which are scored at once"
    )
    columns: Columns = None
    keep: Keep = Field([])
    guard: bool = Field(True, description="write ' before .csv cells that a spreadsheet would run as formulas")
    base_model: BaseModel = None
    batch_size: BatchSize = None
    cascade: Cascade = False
    memory: Memory = None
    exact: Exact = False
    review_queue: NewQueue = None
    review_sample: ReviewSample = 0.01

    @field_validator("pairs", mode="before")
    @classmethod
    def _one_file(cls, pairs: object) -> object:
        return [pairs] if isinstance(pairs, str) else pairs
