"""Response bodies, with the field names of each API; the OpenAPI document is made from these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel


class PairResult(BaseModel):
    """Result of one pair."""

    score: float
    probability: float
    decision: Literal["match", "review", "no_match"]
    truncated: bool


class MatchRow(PairResult):
    """Result of one pair, with its position in the request and the id under which it is logged."""

    index: int
    answer_id: str


class Matches(BaseModel):
    """Response of /match."""

    results: list[MatchRow]
    model: str
    revision: str


class SearchResponse(BaseModel):
    """Response of /search; a row has the fields of PairResult, `corpus_id` or `id`, `similarity`, `answer_id` and the entry's."""

    results: list[dict[str, Any]]
    model: str
    revision: str


class IndexChange(BaseModel):
    """Response of /index; `version` is the newest version of the index after it."""

    version: int
    added: int
    replaced: int
    deleted: int
    embedded: int = 0


class Rank(BaseModel):
    """One ranked text, in the format of text-embeddings-inference."""

    index: int
    score: float
    text: str | None = None


class Prediction(BaseModel):
    """Score of one pair, in the format of text-embeddings-inference for a classifier with one label."""

    score: float
    label: Literal["match"] = "match"


class CohereDocument(BaseModel):
    """Document in the format of Cohere."""

    text: str


class CohereRank(BaseModel):
    """One ranked document, in the format of Cohere."""

    index: int
    relevance_score: float
    document: CohereDocument | None = None


class CohereRanking(BaseModel):
    """Response of /rerank in the format of Cohere."""

    id: str
    model: str
    results: list[CohereRank]
    meta: dict[str, Any] = {"api_version": {"version": "2"}}


class Score(BaseModel):
    """Probability of one pair, in the format of vLLM."""

    index: int
    object: Literal["score"] = "score"
    score: float


class Usage(BaseModel):
    """Number of tokens of the texts after truncation; tokens of the prompt around them are not counted."""

    prompt_tokens: int
    total_tokens: int


def usage_of(tokens: Iterable[int]) -> Usage:
    """Sum the token counts of all items."""
    total = sum(tokens)
    return Usage(prompt_tokens=total, total_tokens=total)


class Scores(BaseModel):
    """Response of /score in the format of vLLM."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Score]
    usage: Usage


class Embedding(BaseModel):
    """One vector in the format of OpenAI: numbers, or base64 of float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Embeddings(BaseModel):
    """Response of /v1/embeddings in the format of OpenAI."""

    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: Usage


class ModelCard(BaseModel):
    """One model in the format of OpenAI; `created` is when the server started, in seconds since 1970."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["flipkd"] = "flipkd"


class Models(BaseModel):
    """Response of /v1/models in the format of OpenAI."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
