"""Settings of the commands that make and search an index."""

from __future__ import annotations

from pydantic import Field

from flipkd.command_config.fields import ARGUMENT, BaseModel, Cascade, Count, Encoder, Exact, Keep, MatcherFolder
from flipkd.settings import Settings


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
    cascade: Cascade = False
    exact: Exact = False
