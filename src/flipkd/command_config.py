"""Settings of the commands that check pairs or use a matcher; those of the commands that train are in `config.py`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from flipkd.setting_fields import Columns, Directed, Seed
from flipkd.settings import Settings

ARGUMENT = partial(Field, json_schema_extra={"argument": True})  # positional on the command line
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
MatcherFolder = Annotated[
    str, Field(description="matcher folder, made by flipkd train, or its id on the hub: OWNER/NAME")
]
BaseModel = Annotated[str | None, Field(description="new path of the base model, if it has moved")]
BatchSize = Annotated[
    Count | None, Field(description="batch size in pairs; default: 32 on a CPU, as large as fits on a GPU")
]
Keep = Annotated[list[str], Field(description="columns of the file to copy to the output")]
Encoder = Annotated[str | None, Field(description="new path of the index's encoder, if it has moved")]
Cascade = Annotated[
    bool,
    Field(
        description="cascade: the kept teacher decides the clear pairs, the LLM the others (needs calibrate --cascade)"
    ),
]
Exact = Annotated[
    bool, Field(description="score each pair alone, so that its score does not depend on the other pairs; slower")
]


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


class EvaluateConfig(Settings):
    """Settings of `flipkd evaluate`."""

    matcher: MatcherFolder
    test_file: str = Field(description="labelled pairs")
    columns: Columns = None
    base_model: BaseModel = None
    output: str | None = Field(None, description="JSON file for the metrics")
    report: str | None = Field(None, description="HTML file for the report")
    batch_size: BatchSize = None
    cascade: Cascade = False
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
    columns: Columns = None
    base_model: BaseModel = None
    batch_size: BatchSize = None


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
    against: str = Field(description="matcher folder that the export was made from")
    pairs: str | None = Field(None, description="pairs to score, labels are optional; default: a few neutral pairs")
    columns: Columns = None
    base_model: BaseModel = None
    batch_size: BatchSize = None


class MatchConfig(Settings):
    """Settings of `flipkd match`."""

    matcher: MatcherFolder
    pairs: str | None = ARGUMENT(None, description="file of pairs")
    text1: str | None = Field(None, description="first text of a single pair, instead of a file")
    text2: str | None = Field(None, description="second text of a single pair")
    output: str | None = Field(None, description="output file (.csv or .jsonl); default: JSON lines on stdout")
    columns: Columns = None
    keep: Keep = Field([])
    guard: bool = Field(True, description="write ' before .csv cells that a spreadsheet would run as formulas")
    base_model: BaseModel = None
    batch_size: BatchSize = None
    cascade: Cascade = False
    exact: Exact = False


class IndexConfig(Settings):
    """Settings of `flipkd index`."""

    texts: str = ARGUMENT(description="file of texts to search, such as the questions of an FAQ")
    encoder: str = Field(description="folder of the encoder: a teacher, or a matcher that encodes texts separately")
    output_dir: str = Field("index", description="output folder for the index")
    column: str | None = Field(
        None, description="column of the texts; default: the one with a common name, or the only one"
    )
    keep: Keep = Field([])
    base_model: BaseModel = None


class SearchConfig(Settings):
    """Settings of `flipkd search`."""

    query: str = ARGUMENT(description="query text")
    matcher: MatcherFolder
    index: str = Field(description="index folder, made by flipkd index")
    top_k: Count = Field(5, description="number of results")
    candidates: Count = Field(20, description="nearest entries that the matcher scores")
    encoder: Encoder = None
    base_model: BaseModel = None
    exact: Exact = False


class ServeConfig(Settings):
    """Settings of `flipkd serve`."""

    matcher: MatcherFolder
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0: any unused port")
    api_key_file: str | None = Field(None, description="file with the API key that requests must send")
    insecure: bool = Field(False, description="allow other machines to connect without an API key")
    cors_origins: list[str] = Field(
        [], description="origins of web pages that may use the server, as https://shop.example; * for every page"
    )
    index: str | None = Field(None, description="index folder for /search, made by flipkd index")
    encoder: Encoder = None
    base_model: BaseModel = None
    merge: bool = Field(False, description="merge LoRA into the weights: faster, more memory")
    exact: Exact = False
    batch_size: Count = Field(32, description="batch size in pairs")
    max_wait: float = Field(0.0, ge=0, description="maximum seconds that a batch waits for more pairs")
    max_items: Count = Field(1000, description="maximum pairs or texts of one request")
    max_queue: Count = Field(4096, description="maximum pairs or texts in the queue")
    timeout: float = Field(30.0, ge=0.001, description="timeout of a request in seconds")
    grace: float = Field(30.0, ge=0, description="seconds to finish accepted requests after SIGTERM")


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


class DemoConfig(Settings):
    """Settings of `flipkd demo`."""

    output_dir: str = Field("demo", description="output folder for data, runs and results")
    seed: Seed = 0
