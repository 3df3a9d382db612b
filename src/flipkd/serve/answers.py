"""Bodies of answers, in the words of those who coined them; OpenAPI is made from these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel


class PairResult(BaseModel):
    """What is known of one pair."""

    score: float
    probability: float
    decision: Literal["match", "review", "no_match"]
    truncated: bool


class MatchRow(PairResult):
    """One pair of a request, by its place in it."""

    index: int


class Matches(BaseModel):
    """flipkd's answer to pairs."""

    results: list[MatchRow]
    model: str
    revision: str


class SearchResponse(BaseModel):
    """flipkd's answer to a search; a row has Judged's fields, `corpus_id`, `similarity`, `text` and what was kept beside it."""

    results: list[dict[str, Any]]
    model: str
    revision: str


class Rank(BaseModel):
    """A text of a ranking, as text-embeddings-inference has it."""

    index: int
    score: float
    text: str | None = None


class CohereDocument(BaseModel):
    """A document as Cohere has it."""

    text: str


class CohereRank(BaseModel):
    """A document of a ranking, as Cohere has it."""

    index: int
    relevance_score: float
    document: CohereDocument | None = None


class CohereRanking(BaseModel):
    """Cohere's answer."""

    id: str
    model: str
    results: list[CohereRank]
    meta: dict[str, Any] = {"api_version": {"version": "2"}}


class Score(BaseModel):
    """One pair's probability, as vLLM has it."""

    index: int
    object: Literal["score"] = "score"
    score: float


class Usage(BaseModel):
    """Tokens of the texts that were read; those of the prompt around them are not counted."""

    prompt_tokens: int
    total_tokens: int


def usage_of(tokens: Iterable[int]) -> Usage:
    """The usage of so many tokens."""
    total = sum(tokens)
    return Usage(prompt_tokens=total, total_tokens=total)


class Scores(BaseModel):
    """vLLM's answer."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Score]
    usage: Usage


class Embedding(BaseModel):
    """One vector, as OpenAI has it: numbers, or base64 of float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Embeddings(BaseModel):
    """OpenAI's answer."""

    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: Usage
