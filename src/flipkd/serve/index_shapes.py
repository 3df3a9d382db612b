"""Request bodies of the routes that search an index or change it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flipkd.index.filters import MOST_CHARACTERS
from flipkd.serve.shapes import Body, Choice, Count, Texts

Filter = Annotated[str, Field(max_length=MOST_CHARACTERS, description="filter of the entries, as language = 'en'")]


class SearchBody(Choice):
    """Body of /search."""

    query: str
    top_k: Count = 5
    candidates: Count = 20
    where: Filter | None = None


class _Entry(BaseModel):
    """An entry with the columns that the index keeps; without `id` it gets a hash of its text and columns."""

    model_config = ConfigDict(extra="allow", strict=True)

    id: str | None = None
    text: str


class UpsertBody(Body):
    """Body of PUT and POST /index."""

    entries: Annotated[list[_Entry], Field(fail_fast=True, min_length=1)]


class DeleteBody(Body):
    """Body of DELETE /index: ids or a filter."""

    ids: Annotated[Texts, Field(default_factory=list)]
    where: Filter | None = None
