"""Settings of the measurement of retrieval."""

from __future__ import annotations

from pydantic import Field

from flipkd.command_config.fields import ARGUMENT, ENCODERS, BaseModel, Count
from flipkd.setting_fields import Columns
from flipkd.settings import Settings


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
