"""Request bodies, with the field names of each API.

flipkd's own bodies refuse an unknown field. Bodies of other APIs ignore it, since clients send newer ones; what is ignored
is listed in the response (`calls.note_ignored`). A field that changes the meaning and has no effect here is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator


def _as_integer(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Validation of a list stops at the first error: a list could have a million of them.
Texts = Annotated[list[str], Field(fail_fast=True)]
Pair = Annotated[Texts, Field(min_length=2, max_length=2)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Width = Annotated[int, BeforeValidator(_as_integer), Field(ge=0, le=100_000, description="0: as many as there are")]
RANK_FIELDS = 16  # of one request; each is looked up in each document


class Body(BaseModel):
    """Base class of all bodies: null means that a field is absent, since many clients send it so."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        return {name: v for name, v in values.items() if v is not None} if isinstance(values, dict) else values


class ForeignBody(Body):
    """Base class of the bodies of other APIs, whose unknown fields are ignored."""

    model_config = ConfigDict(extra="allow")

    @property
    def ignored(self) -> list[str]:
        """Names of the fields that have no effect."""
        return list(self.model_extra or {})


class Choice(Body):
    """Fields that choose the matcher: its name or alias, and who gets the answer, for shares of clients."""

    model: str | None = None
    user: str | int | None = None


class VllmBody(Choice, ForeignBody):
    """Common fields of vLLM's bodies; the last three ask for raw scores."""

    truncation_side: Literal["right"] = "right"
    use_activation: bool = True
    activation: bool = True
    softmax: bool = True

    @property
    def raw(self) -> bool:
        """True when the client wants scores and not probabilities."""
        return not (self.use_activation and self.activation and self.softmax)


class TruncationBody(ForeignBody):
    """Fields of text-embeddings-inference about texts that are too long."""

    truncate: bool = True
    truncation_direction: Literal["right", "Right"] = "right"


class MatchBody(Choice):
    """Body of /match."""

    pairs: Annotated[list[Pair], Field(fail_fast=True)]


def _as_document(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


class _Document(BaseModel):
    """A document with its fields: `text`, and others that `rank_fields` may name."""

    model_config = ConfigDict(extra="allow", strict=True)

    text: str | None = None


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


class RerankBody(VllmBody, TruncationBody):
    """Body of /rerank: of text-embeddings-inference (`texts`), or of Cohere, Jina, infinity and vLLM (`documents`).

    Except for these two, each field may go with either.
    """

    query: str
    texts: Texts | None = None
    documents: Annotated[list[Document], Field(fail_fast=True)] | None = None
    top_n: Annotated[int, BeforeValidator(_as_integer), Field(ge=0, description="0: all")] = 0
    raw_scores: bool = False
    return_text: bool = False
    return_documents: bool = False
    rank_fields: Annotated[Texts, Field(max_length=RANK_FIELDS)] = []

    @property
    def raw(self) -> bool:
        """True when the client wants scores and not probabilities."""
        return self.raw_scores or super().raw

    @property
    def with_text(self) -> bool:
        """True when the client wants the texts back."""
        return self.return_text or self.return_documents

    def candidates(self) -> list[str]:
        """Return the texts to rank: of a document, its text, or the `rank_fields` that it has, a line each."""
        if self.texts is not None:
            return self.texts
        return [_document_text(document, self.rank_fields) or "" for document in self.documents or []]

    @model_validator(mode="after")
    def _require_one_format(self) -> RerankBody:
        if (self.texts is None) == (self.documents is None):
            raise ValueError("give texts (as for text-embeddings-inference) or documents (as for Cohere), not both")
        for position, document in enumerate(self.documents or []):
            if _document_text(document, self.rank_fields) is None:
                names = "one of the rank_fields" if self.rank_fields else "the field text"
                raise ValueError(f"documents.{position} has no text; it needs {names}")
        return self


def _document_text(document: _Document, rank_fields: list[str]) -> str | None:
    """Return the text to rank, or None; a document given as a string has no other fields."""
    extra = document.model_extra or {}
    if not (rank_fields and extra):
        return document.text
    values = {"text": document.text, **extra}
    found = [value for name in dict.fromkeys(rank_fields) if isinstance(value := values.get(name), str)]
    return "\n".join(found) if found else None


class ScoreBody(VllmBody):
    """Body of /score (vLLM): one text with each of several texts, or two lists of equal length."""

    text_1: Annotated[str | Texts, Field(validation_alias=AliasChoices("text_1", "data_1", "queries"))]
    text_2: Annotated[str | Texts, Field(validation_alias=AliasChoices("text_2", "data_2", "documents", "items"))]


class EmbedBody(Choice, TruncationBody):
    """Body of /embed (text-embeddings-inference)."""

    inputs: str | Texts
    normalize: bool = True
    dimensions: Width = 0
    encoding_format: Literal["float"] = "float"

    @property
    def ignored(self) -> list[str]:
        """Names of the fields that have no effect; the vectors of a matcher always have unit length."""
        return super().ignored + ([] if self.normalize else ["normalize"])


class SimilarityInputs(ForeignBody):
    """Texts of /similarity."""

    source_sentence: str
    sentences: Texts


class SimilarityBody(Choice, ForeignBody):
    """Body of /similarity (text-embeddings-inference)."""

    inputs: SimilarityInputs
    parameters: TruncationBody = TruncationBody()

    @property
    def ignored(self) -> list[str]:
        """Names of the fields that have no effect, also of those inside the two objects."""
        return [*super().ignored, *self.inputs.ignored, *self.parameters.ignored]


def _require_pairs(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)):
        raise ValueError("a matcher scores pairs of texts: send [text1, text2], or a list of such pairs")
    return value


class PredictBody(Choice, TruncationBody):
    """Body of /predict (text-embeddings-inference): one pair, or a list of pairs."""

    inputs: Annotated[
        Pair | Annotated[list[Pair], Field(fail_fast=True, min_length=1)], BeforeValidator(_require_pairs)
    ]
    raw_scores: bool = False

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs; one pair alone is a list of one."""
        rows: list[Any] = [self.inputs] if self.is_single else list(self.inputs)
        return [(left, right) for left, right in rows]

    @property
    def is_single(self) -> bool:
        """True for one pair that is not in a list."""
        return isinstance(self.inputs[0], str)


def _refuse_token_ids(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], int | list):
        raise ValueError("send texts, not token ids (in LangChain: check_embedding_ctx_length=False)")
    return value


class EmbeddingsBody(Choice, ForeignBody):
    """Body of /v1/embeddings (OpenAI)."""

    input: Annotated[str | Texts, BeforeValidator(_refuse_token_ids)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Width = 0
    modality: Literal["text"] = "text"
