"""Routes that return vectors of single texts, or their cosines."""

from __future__ import annotations

import base64

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import TypeAdapter

from flipkd.serve.answers import Embedding, Embeddings, usage_of
from flipkd.serve.calls import encode_texts, service_of, shortened
from flipkd.serve.problems import documented_responses
from flipkd.serve.shapes import EmbedBody, EmbeddingsBody, SimilarityBody
from flipkd.serve.strict_json import CODES, StrictRoute, check_count

VECTORS = TypeAdapter(list[list[float]])
router = APIRouter(route_class=StrictRoute, responses=documented_responses(*CODES))


@router.post("/embed", response_model=list[list[float]])
async def embed(body: EmbedBody, request: Request) -> Response:
    """Return a unit vector of each text, in the format of text-embeddings-inference."""
    found = await encode_texts(service_of(request, body), body.inputs, allow_truncation=body.truncate)
    vectors = shortened(found, body.dimensions)
    # FastAPI would validate each of up to a million numbers first and block all other requests.
    return Response(VECTORS.dump_json(vectors), media_type="application/json")


@router.post("/similarity")
async def similarity(body: SimilarityBody, request: Request) -> list[float]:
    """Return the cosine of a text with each of several texts, in the format of text-embeddings-inference."""
    service = service_of(request, body)
    texts = [body.inputs.source_sentence, *body.inputs.sentences]
    check_count(len(texts) - 1, most=service.limits.max_items)
    found = await encode_texts(service, texts, allow_truncation=body.parameters.truncate)
    source, *others = np.array([row.vector for row in found], np.float32)
    return [float(source @ other) for other in others]


@router.post("/v1/embeddings", responses=documented_responses(*CODES, openai=True))
async def embeddings(body: EmbeddingsBody, request: Request) -> Embeddings:
    """Return a unit vector of each text, in the format of OpenAI."""
    service = service_of(request, body)
    found = await encode_texts(service, body.input)
    as_numbers = body.encoding_format == "float"
    data = [
        Embedding(index=index, embedding=vector if as_numbers else _as_base64(vector))
        for index, vector in enumerate(shortened(found, body.dimensions))
    ]
    return Embeddings(model=service.name, data=data, usage=usage_of(row.tokens for row in found))


def _as_base64(vector: list[float]) -> str:
    return base64.b64encode(np.array(vector, "<f4").tobytes()).decode()
