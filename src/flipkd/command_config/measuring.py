"""Settings of the commands that measure models and rankings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flipkd.command_config.fields import ARGUMENT, ENCODERS, BaseModel, Count
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


class RetrievalConfig(Settings):
    """Settings of `flipkd retrieval`."""

    queries: str = Field(description="file of queries: an id and a text in each row")
    documents: str = Field(description="file of documents: an id and a text in each row")
    qrels: str = Field(description="file of judgements: query_id, doc_id and relevance (0: not relevant) in each row")
    encoder: str | None = Field(None, description=f"{ENCODERS}; it is measured as a system")
    matcher: str | None = Field(None, description="matcher to measure: it ranks the first documents again")
    candidates: Count = Field(50, description="nearest documents of a query that the matcher scores")
    bm25: bool = Field(True, description="BM25, a search by words, as a system")
    output: str | None = Field(None, description="JSON file for the metrics, differences and metrics of each query")
    base_model: BaseModel = None


class RetrievalSetConfig(Settings):
    """Settings of `flipkd retrieval-set`."""

    pairs: str = ARGUMENT(description="file of labelled pairs")
    columns: Columns = None
    output_dir: str = Field("retrieval", description="output folder for queries.csv, documents.csv and qrels.csv")
