"""Bodies of requests, in the words of those who coined them; a field that is not here is refused, not ignored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Texts = list[str]


class Body(BaseModel):
    """What all bodies have in common."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class MatchBody(Body):
    """flipkd's own."""

    pairs: list[Annotated[list[str], Field(min_length=2, max_length=2)]]


class Document(Body):
    """A document as Cohere has it."""

    text: str


class RerankBody(Body):
    """text-embeddings-inference (`texts`) and Cohere (`documents`), who share a path and little else."""

    query: str
    texts: Texts | None = None
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool = True
    truncation_direction: Literal["right", "Right"] = "right"
    model: str | None = None
    documents: list[str | Document] | None = None
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool = False
    max_tokens_per_doc: Annotated[int, Field(ge=1)] | None = None


class ScoreBody(Body):
    """vLLM: one text against each of several, or as many against as many."""

    text_1: str | Texts
    text_2: str | Texts
    model: str | None = None


class SearchBody(Body):
    """flipkd's own: the best of an index's entries."""

    query: str
    top_k: Annotated[int, Field(ge=1)] = 5
    candidates: Annotated[int, Field(ge=1)] = 20


class EmbedBody(Body):
    """text-embeddings-inference."""

    inputs: str | Texts
    normalize: Literal[True] = True
    truncate: bool = True
    truncation_direction: Literal["right", "Right"] = "right"


class EmbeddingsBody(Body):
    """OpenAI."""

    input: str | Texts
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None
