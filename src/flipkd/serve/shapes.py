"""Bodies of requests, in the words of those who coined them; a field that is not here is refused, not ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

# The first fault of a list is what the answer names; all of them would be a million.
Texts = Annotated[list[str], Field(fail_fast=True)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Width = Annotated[int, Field(ge=0, le=100_000, description="0: as many as there are")]
OF_TEXTS = frozenset({"return_text", "truncate", "truncation_direction"})
OF_DOCUMENTS = frozenset({"top_n", "return_documents", "max_tokens_per_doc", "max_chunks_per_doc", "rank_fields"})


class Body(BaseModel):
    """What all bodies have in common: null stands for a field that is left out, as many clients write it."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        return {name: v for name, v in values.items() if v is not None} if isinstance(values, dict) else values


class VllmBody(Body):
    """What vLLM's bodies have in common; all but the three that ask for raw scores is accepted and not looked at."""

    model: str | None = None
    user: str | None = None
    priority: int = 0
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None
    truncation_side: Literal["right"] = "right"
    use_activation: bool = True
    activation: bool = True
    softmax: bool = True

    @property
    def raw(self) -> bool:
        """Whether scores are asked for instead of probabilities."""
        return not (self.use_activation and self.activation and self.softmax)


class MatchBody(Body):
    """flipkd's own."""

    pairs: Annotated[list[Annotated[Texts, Field(min_length=2, max_length=2)]], Field(fail_fast=True)]


class SearchBody(Body):
    """flipkd's own: the best of an index's entries."""

    query: str
    top_k: Count = 5
    candidates: Count = 20


def _as_document(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    text: str


Document = Annotated[
    _Document,
    BeforeValidator(_as_document),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
            ]
        }
    ),
]


class RerankBody(VllmBody):
    """text-embeddings-inference (`texts`), and Cohere, Jina, infinity and vLLM (`documents`): one path and little else.

    The two limits per document are accepted and not looked at.
    """

    query: str
    texts: Texts | None = None
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool = True
    truncation_direction: Literal["right", "Right"] = "right"
    documents: Annotated[list[Document], Field(fail_fast=True)] | None = None
    top_n: Annotated[int, Field(ge=0, description="0: all")] = 0
    return_documents: bool = False
    max_tokens_per_doc: Count | None = None
    max_chunks_per_doc: Count | None = None
    rank_fields: Annotated[list[Literal["text"]], Field(fail_fast=True)] = ["text"]

    @property
    def raw(self) -> bool:
        """Whether scores are asked for instead of probabilities."""
        return self.raw_scores or super().raw

    @model_validator(mode="after")
    def _one_shape(self) -> RerankBody:
        if (self.texts is None) == (self.documents is None):
            raise ValueError("give texts (as for text-embeddings-inference) or documents (as for Cohere), not both")
        mine, others = ("documents", OF_TEXTS) if self.texts is None else ("texts", OF_DOCUMENTS)
        if strange := sorted(self.model_fields_set & others):
            raise ValueError(f"{strange[0]} does not go with {mine}")
        return self


class ScoreBody(VllmBody):
    """vLLM: one text against each of several, or as many against as many."""

    text_1: str | Texts
    text_2: str | Texts


class EmbedBody(Body):
    """text-embeddings-inference."""

    inputs: str | Texts
    normalize: Literal[True] = True
    truncate: bool = True
    truncation_direction: Literal["right", "Right"] = "right"
    dimensions: Width = 0


def _no_ids(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], int | list):
        raise ValueError("send texts, not token ids (in LangChain: check_embedding_ctx_length=False)")
    return value


class EmbeddingsBody(Body):
    """OpenAI."""

    input: Annotated[str | Texts, BeforeValidator(_no_ids)]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Width = 0
    user: str | None = None
    modality: Literal["text"] = "text"
