"""Settings of the commands that make, change and search an index."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flipkd.command_config.fields import (
    ARGUMENT,
    ENCODERS,
    BaseModel,
    Cascade,
    Count,
    Encoder,
    Exact,
    Keep,
    MatcherFolder,
)
from flipkd.settings import Settings

IndexFolder = Annotated[str, ARGUMENT(description="folder of an index of LanceDB")]
ColumnTypes = Annotated[
    dict[str, Literal["text", "int", "float", "bool"]],
    Field(description="types of kept columns: text, int, float, bool; those of a csv file are text"),
]
EntryFilter = Annotated[
    str | None, Field(description="only entries that fulfil a filter, such as \"language = 'en' and price < 10\"")
]


class IndexConfig(Settings):
    """Settings of `flipkd index build`."""

    texts: str = ARGUMENT(description="file of texts to search, such as the questions of an FAQ")
    encoder: str = Field(
        description=f"{ENCODERS}; make a teacher folder from any other model with flipkd teach --fine_tune false"
    )
    output_dir: str = Field("index", description="output folder for the index")
    engine: Literal["memory", "lancedb"] = Field(
        "memory", description="memory: never changed, all in memory; lancedb: entries are added and deleted later"
    )
    text: str | None = Field(
        None, description="column of the texts; default: the one with a common name, or the only one"
    )
    id: str | None = Field(
        None, description="column of the entries' ids (lancedb); default: a hash of text and kept columns"
    )
    keep: Keep = Field([])
    types: ColumnTypes = Field({})
    base_model: BaseModel = None


class IndexAddConfig(Settings):
    """Settings of `flipkd index add` and `flipkd index update`."""

    index: IndexFolder
    texts: str = ARGUMENT(description="file of entries, with the columns that the index was built from")
    text: str | None = Field(None, description="column of the texts; default: as when the index was built")
    id: str | None = Field(None, description="column of the ids; default: as when the index was built")
    encoder: Encoder = None
    base_model: BaseModel = None


class IndexDeleteConfig(Settings):
    """Settings of `flipkd index delete`."""

    index: IndexFolder
    ids: list[str] = Field([], description="ids of the entries")
    where: EntryFilter = None


class IndexListConfig(Settings):
    """Settings of `flipkd index list`."""

    index: IndexFolder
    where: EntryFilter = None
    limit: Count = Field(20, description="maximum number of entries")


class IndexVersionsConfig(Settings):
    """Settings of `flipkd index versions`."""

    index: IndexFolder


class IndexCompactConfig(Settings):
    """Settings of `flipkd index compact`."""

    index: IndexFolder
    keep_days: float = Field(7.0, ge=0, description="days for which old versions are kept for rollback")


class IndexRollbackConfig(Settings):
    """Settings of `flipkd index rollback`."""

    index: IndexFolder
    version: Count = Field(description="number of the version, as flipkd index versions shows it")


class SearchConfig(Settings):
    """Settings of `flipkd search`."""

    query: str = ARGUMENT(description="query text")
    matcher: MatcherFolder
    index: str = Field(description="index folder, made by flipkd index")
    top_k: Count = Field(5, description="number of results")
    candidates: Count = Field(20, description="nearest entries that the matcher scores")
    where: EntryFilter = None
    encoder: Encoder = None
    base_model: BaseModel = None
    cascade: Cascade = False
    exact: Exact = False
