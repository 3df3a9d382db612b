"""Settings of the commands of the review queue."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flipkd.command_config.fields import ARGUMENT, Count, Share
from flipkd.settings import Settings

QueueFile = Annotated[
    str, ARGUMENT(description="file of the review queue, made by flipkd match or serve with --review_queue")
]
NewQueue = Annotated[
    str | None, Field(description="file of the review queue to which pairs are added that people should see")
]
ReviewSample = Annotated[
    Share, Field(description="share of the pairs with a sure decision that the review queue gets too")
]
Unanimous = Annotated[bool, Field(description="only labels on which all annotators agree; default: the majority")]


class ReviewExportConfig(Settings):
    """Settings of `flipkd review export`."""

    queue: QueueFile
    to: Literal["label-studio", "argilla", "csv"] = Field(description="tool that reads the file")
    output: str = Field(description="output file: .json for label-studio and argilla, .csv for csv")
    select: Literal["doubtful", "disagreement", "diverse", "random"] = Field(
        "doubtful",
        description="which pairs come first: doubtful ones, those where teacher and matcher disagree, a diverse or a random set",
    )
    limit: Count | None = Field(None, description="number of pairs; default: all")
    votes: Count = Field(1, description="pairs with fewer labels than this are exported")
    teacher: str | None = Field(
        None,
        description="folder of a teacher, or of a matcher that keeps one: its scores for disagreement, its vectors for diverse",
    )


class ReviewImportConfig(Settings):
    """Settings of `flipkd review import`."""

    queue: QueueFile
    file: str = ARGUMENT(description="labelled pairs: JSON of Label Studio or Argilla, or csv, tsv, jsonl or parquet")
    annotator: str | None = Field(
        None, description="name of the annotator of rows that have none; default: the name of the file"
    )


class ReviewListConfig(Settings):
    """Settings of `flipkd review list`."""

    queue: QueueFile
    state: Literal["all", "open", "labelled", "conflict"] = Field("all", description="which pairs")
    limit: Count | None = Field(20, description="number of pairs; null: all")


class ReviewStatsConfig(Settings):
    """Settings of `flipkd review stats`."""

    queue: QueueFile
    unanimous: Unanimous = False


class ReviewPairsConfig(Settings):
    """Settings of `flipkd review pairs`."""

    queue: QueueFile
    output: str = Field(description="output file (.csv or .jsonl) for flipkd train, calibrate and evaluate")
    unanimous: Unanimous = False
