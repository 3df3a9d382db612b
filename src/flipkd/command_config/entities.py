"""Settings of the commands that find candidate pairs of records and clusters of records."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flipkd.command_config.fields import (
    ARGUMENT,
    ENCODERS,
    BaseModel,
    BatchSize,
    Cascade,
    Count,
    Exact,
    Keep,
    MatcherFolder,
)
from flipkd.settings import Settings


class RulesConfig(Settings):
    """Settings that `flipkd candidates` and `flipkd dedupe` share: the records, and the rules that pair them."""

    left: str = ARGUMENT(description="file of records: csv, tsv, jsonl or parquet")
    right: str | None = ARGUMENT(None, description="file of other records; default: the records of the first file")
    text: list[str] = Field(
        [],
        description="column of the texts, or several, joined as 'NAME: VALUE; NAME: VALUE'; default: the one with a common "
        "name, or the only one",
    )
    text_right: list[str] = Field([], description="the same for the second file; default: as --text")
    id: str | None = Field(None, description="column of unique ids to copy to the output")
    id_right: str | None = Field(None, description="the same for the second file; default: as --id")
    top_k: int = Field(10, ge=0, description="nearest neighbours of each record of the first file; 0: no such rule")
    min_similarity: float | None = Field(None, ge=-1, le=1, description="minimum cosine of nearest neighbours")
    equal: list[str] = Field(
        [],
        description="column whose equal values make candidates, each a rule; brand+year: both equal; name=title: column of the "
        "first file = column of the second",
    )
    min_word_overlap: Count | None = Field(
        None, description="number of rare words that two texts must share to be candidates; default: no such rule"
    )
    max_group: Count = Field(
        100, description="most records of a value of --equal, of a rare word, and copies of one text, that are paired"
    )
    keep: Keep = Field([])
    labels: str | None = Field(
        None,
        description="file of known matches to measure the recall: columns id1, id2 (values of --id), or row1, row2",
    )
    store: str | None = Field(
        None,
        description="folder that keeps the vectors of an encoder that is no teacher folder; default: beside the output",
    )
    guard: bool = Field(True, description="write ' before .csv cells that a spreadsheet would run as formulas")


class CandidatesConfig(RulesConfig):
    """Settings of `flipkd candidates`."""

    output: str = Field(description="output file (.csv, .jsonl or .parquet)")
    encoder: str | None = Field(
        None,
        description=f"{ENCODERS}, or any sentence-transformers model (name or folder); default: no vectors, only the other rules",
    )
    distinct: bool = Field(False, description="pair only the first record of each text, and leave its copies out")
    base_model: BaseModel = None


class DedupeConfig(RulesConfig):
    """Settings of `flipkd dedupe`."""

    matcher: MatcherFolder
    output_dir: str = Field("dedupe", description="output folder for candidates, scored pairs and clusters")
    encoder: str | None = Field(
        None, description="model of the vectors, as for flipkd candidates; default: the matcher"
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="minimum probability of a match; default: the matcher's own decision"
    )
    weak_margin: float = Field(
        0.1, ge=0, le=1, description="a match is weak when its probability is less than this above the threshold"
    )
    format: Literal["csv", "jsonl", "parquet"] = Field("csv", description="format of the files with clusters")
    base_model: BaseModel = None
    batch_size: BatchSize = None
    cascade: Cascade = False
    exact: Exact = False
