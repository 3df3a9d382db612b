"""Settings of the commands that look at pairs or use a finished matcher; those that train are in `config.py`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from flipkd.config import Columns, Directed, Seed
from flipkd.settings import Settings

ARGUMENT = partial(Field, json_schema_extra={"argument": True})  # given without a name on the command line
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
MatcherFolder = Annotated[str, Field(description="folder that flipkd train made")]
BaseModel = Annotated[str | None, Field(description="where the base model is now, if it moved")]
BatchSize = Annotated[Count | None, Field(description="pairs per pass; default: 32 on a CPU, what fits on a GPU")]
Keep = Annotated[list[str], Field(description="columns of the file that are passed on")]
Encoder = Annotated[str | None, Field(description="where the index's encoder is now, if it moved")]
Cascade = Annotated[
    bool, Field(description="the kept teacher decides where it is sure, the LLM the rest (calibrate --cascade first)")
]
Exact = Annotated[
    bool, Field(description="read each pair alone: its score is the same among any other pairs; takes longer")
]


class CheckConfig(Settings):
    """Settings of `flipkd check`."""

    files: list[str] = ARGUMENT(min_length=1, description="csv, tsv, jsonl, parquet or hub ids of pairs")
    columns: Columns = None
    tokenizer: str | None = Field(None, description="model whose tokens lengths are counted in")
    directed: Directed = False


class SplitConfig(Settings):
    """Settings of `flipkd split`."""

    pairs: str = ARGUMENT(description="file of pairs")
    columns: Columns = None
    output_dir: str = Field("data", description="folder for the three files")
    by: Literal["text1", "text2", "group"] | None = Field(
        None, description="what alone keeps rows together, e.g. text1 for an FAQ; default: every shared text and group"
    )
    validation: Share = Field(0.1, description="share of validation pairs")
    test: Share = Field(0.2, description="share of test pairs")
    seed: Seed = 0


class EvaluateConfig(Settings):
    """Settings of `flipkd evaluate`."""

    matcher: MatcherFolder
    test_file: str = Field(description="labelled pairs")
    columns: Columns = None
    base_model: BaseModel = None
    output: str | None = Field(None, description="JSON file to write too")
    report: str | None = Field(None, description="HTML page to write too")
    batch_size: BatchSize = None
    cascade: Cascade = False
    exact: Exact = False


class CalibrateConfig(Settings):
    """Settings of `flipkd calibrate`."""

    matcher: MatcherFolder
    validation_file: str = Field(description="labelled pairs")
    output_dir: str = Field(description="folder for the new matcher")
    threshold: str = Field(
        "f1", description="a match from where this is reached: f1, accuracy, precision=P, recall=R or a number"
    )
    review: str | None = Field(
        None, description="below a match, a pair is for review down to this target, e.g. recall=0.99"
    )
    symmetric: bool | None = Field(
        None, description="score both orders of a pair and take the mean; default: as the matcher does"
    )
    cascade: float | None = Field(
        None, description="F1 that may be lost where the kept teacher decides alone, for example 0.005"
    )
    columns: Columns = None
    base_model: BaseModel = None
    batch_size: BatchSize = None


class MatchConfig(Settings):
    """Settings of `flipkd match`."""

    matcher: MatcherFolder
    pairs: str | None = ARGUMENT(None, description="file of pairs")
    text1: str | None = Field(None, description="one text, instead of a file")
    text2: str | None = Field(None, description="the other text")
    output: str | None = Field(None, description=".csv or .jsonl to write; default: JSON lines on stdout")
    columns: Columns = None
    keep: Keep = Field([])
    guard: bool = Field(True, description="in a .csv, put ' before cells that a spreadsheet would run as formulas")
    base_model: BaseModel = None
    batch_size: BatchSize = None
    cascade: Cascade = False
    exact: Exact = False


class IndexConfig(Settings):
    """Settings of `flipkd index`."""

    texts: str = ARGUMENT(description="file of texts to choose from, such as the questions of an FAQ")
    encoder: str = Field(description="folder of a teacher, or of a matcher that reads texts apart, which embeds them")
    output_dir: str = Field("index", description="folder to write")
    column: str | None = Field(None, description="column of the texts")
    keep: Keep = Field([])
    base_model: BaseModel = None


class SearchConfig(Settings):
    """Settings of `flipkd search`."""

    query: str = ARGUMENT(description="the text to find others for")
    matcher: MatcherFolder
    index: str = Field(description="folder that flipkd index made")
    top_k: Count = Field(5, description="entries to show")
    candidates: Count = Field(20, description="nearest entries that the matcher judges")
    encoder: Encoder = None
    base_model: BaseModel = None
    exact: Exact = False


class ServeConfig(Settings):
    """Settings of `flipkd serve`."""

    matcher: MatcherFolder
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="0: a free one")
    api_key_file: str | None = Field(None, description="file with the key that requests must bring")
    insecure: bool = Field(False, description="listen where other machines reach it although there is no key")
    index: str | None = Field(None, description="folder that flipkd index made, for /search")
    encoder: Encoder = None
    base_model: BaseModel = None
    merge: bool = Field(False, description="fold LoRA into the weights: faster, more memory")
    exact: Exact = False
    batch_size: Count = Field(32, description="pairs per pass")
    max_wait: float = Field(0.0, ge=0, description="seconds that a pass waits to fill up")
    max_items: Count = Field(1000, description="pairs or texts of one request")
    max_queue: Count = Field(4096, description="pairs or texts that may wait")
    timeout: float = Field(30.0, ge=0.001, description="seconds until a request is given up")
    grace: float = Field(30.0, ge=0, description="seconds for accepted requests after SIGTERM")


class DemoConfig(Settings):
    """Settings of `flipkd demo`."""

    output_dir: str = Field("demo", description="folder for data, runs and results")
    seed: Seed = 0
