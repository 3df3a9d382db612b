"""Settings of the commands that turn one file of pairs into another: select, enrich, propagate, weak-pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flipkd.command_config.fields import ARGUMENT, Count, Share
from flipkd.setting_fields import Columns, Seed
from flipkd.settings import Settings

Bounds = Field(
    [0.0, 1.0], min_length=2, max_length=2, description="quantiles of the value between which pairs are kept"
)


class SelectConfig(Settings):
    """Settings of `flipkd select`."""

    pairs: str = ARGUMENT(description="file of pairs")
    columns: Columns = None
    by: Literal["difficulty", "disagreement", "unfamiliarity", "errors"] = Field(
        description="value of a pair: difficulty (1 for a probability of 0.5), disagreement of teacher and matcher, "
        "unfamiliarity of its texts for the teacher; errors: only pairs that the matcher decides wrongly"
    )
    teacher: str | None = Field(None, description="teacher folder")
    validation_file: str | None = Field(None, description="labelled pairs that calibrate the teacher")
    known_file: str | None = Field(
        None, description="unfamiliarity: pairs whose texts are familiar, such as the training pairs"
    )
    matcher: str | None = Field(None, description="matcher folder")
    quantiles: list[float] = Bounds
    output: str = Field("selected.csv", description="output file (.csv, .jsonl or .parquet)")


class EnrichConfig(Settings):
    """Settings of `flipkd enrich`."""

    pairs: str = ARGUMENT(description="file of pairs")
    columns: Columns = None
    glossary: str | None = Field(
        None, description="file with the columns term and definition, added to texts that have the term"
    )
    max_characters: Count = Field(300, description="maximum length of the definitions of a text")
    context: list[str] = Field(
        [], max_length=2, description="one column to add to text2, such as a rationale, or two: for text1 and text2"
    )
    instead: list[str] = Field([], description="two columns to read instead of the texts, such as their translations")
    teacher: str | None = Field(
        None,
        description="teacher or matcher that reads the enriched texts: the output then has the plain texts and its score",
    )
    output: str = Field("enriched.csv", description="output file (.csv, .jsonl or .parquet)")


class PropagateConfig(Settings):
    """Settings of `flipkd propagate`."""

    pairs: str = ARGUMENT(description="file of pairs with probabilities, made by flipkd match")
    columns: Columns = None
    probability: str = Field("probability", description="column of the probabilities")
    alpha: float = Field(0.5, ge=0, lt=1, description="share of the probability that comes from neighbours")
    output: str = Field("propagated.csv", description="output file (.csv, .jsonl or .parquet)")


class WeakPairsConfig(Settings):
    """Settings of `flipkd weak-pairs`."""

    links: str = ARGUMENT(description="file of links: clicks, citations or tags, one a row")
    text: str = Field("text", description="column of the texts to pair")
    target: str = Field("target", description="column of what they link to")
    match_from: Share = Field(0.3, description="lowest score of a match; 1 if all targets are shared")
    min_shared: Count = Field(2, description="least number of shared targets of a match")
    output: str = Field("weak_pairs.csv", description="output file (.csv, .jsonl or .parquet)")
    seed: Seed = 0
