"""Request bodies, with the field names of each API; an unknown field is an error, it is not ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

# Validation of a list stops at the first error: a list could have a million of them.
Texts = Annotated[list[str], Field(fail_fast=True)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Width = Annotated[int, Field(ge=0, le=100_000, description="0: as many as there are")]
TEXTS_FIELDS = frozenset({"return_text", "truncate", "truncation_direction"})
DOCUMENTS_FIELDS = frozenset({"top_n", "return_documents", "max_tokens_per_doc", "max_chunks_per_doc", "rank_fields"})


class Body(BaseModel):
    """Base class of all bodies: null means that a field is absent, since many clients send it so."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        return {name: v for name, v in values.items() if v is not None} if isinstance(values, dict) else values


class VllmBody(Body):
    """Common fields of vLLM's bodies; only the last three have an effect (raw scores), the others are accepted and ignored."""

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
        """True when the client wants scores and not probabilities."""
        return not (self.use_activation and self.activation and self.softmax)


class MatchBody(Body):
    """Body of /match."""

    pairs: Annotated[list[Annotated[Texts, Field(min_length=2, max_length=2)]], Field(fail_fast=True)]


class SearchBody(Body):
    """Body of /search."""

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
    """Body of /rerank: of text-embeddings-inference (`texts`), or of Cohere, Jina, infinity and vLLM (`documents`).

    The two limits per document are accepted and ignored.
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
        """True when the client wants scores and not probabilities."""
        return self.raw_scores or super().raw

    @model_validator(mode="after")
    def _require_one_format(self) -> RerankBody:
        if (self.texts is None) == (self.documents is None):
            raise ValueError("give texts (as for text-embeddings-inference) or documents (as for Cohere), not both")
        own, others = ("documents", TEXTS_FIELDS) if self.texts is None else ("texts", DOCUMENTS_FIELDS)
        if wrong := sorted(self.model_fields_set & others):
            raise ValueError(f"{wrong[0]} does not go with {own}")
        return self


class ScoreBody(VllmBody):
    """Body of /score (vLLM): one text with each of several texts, or two lists of equal length."""

    text_1: str | Texts
    text_2: str | Texts


class EmbedBody(Body):
    """Body of /embed (text-embeddings-inference)."""

    inputs: str | Texts
    normalize: Literal[True] = True
    truncate: bool = True
    truncation_direction: Literal["right", "Right"] = "right"
    dimensions: Width = 0


def _refuse_token_ids(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], int | list):
        raise ValueError("send texts, not token ids (in LangChain: check_embedding_ctx_length=False)")
    return value


class EmbeddingsBody(Body):
    """Body of /v1/embeddings (OpenAI)."""

    input: Annotated[str | Texts, BeforeValidator(_refuse_token_ids)]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Width = 0
    user: str | None = None
    modality: Literal["text"] = "text"
