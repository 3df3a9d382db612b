"""Routes of text-embeddings-inference that other modules do not have: /predict, and / for each of its bodies."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Discriminator, Tag

from flipkd.serve.answers import CohereRanking, Prediction, Rank
from flipkd.serve.calls import match_pairs, service_of
from flipkd.serve.problems import documented_responses
from flipkd.serve.routes import rerank
from flipkd.serve.shapes import EmbedBody, PredictBody, RerankBody, SimilarityBody
from flipkd.serve.strict_json import CODES, StrictRoute
from flipkd.serve.vector_routes import embed, similarity

router = APIRouter(route_class=StrictRoute, responses=documented_responses(*CODES))


@router.post("/predict")
async def predict(body: PredictBody, request: Request) -> list[Prediction] | list[list[Prediction]]:
    """Return the probability of a match of each pair, under the one label "match"."""
    service_of(request, body)
    found = await match_pairs(request, body.pairs, allow_truncation=body.truncate)
    rows = [[Prediction(score=row.score if body.raw_scores else row.probability)] for row in found]
    return rows[0] if body.is_single else rows


def _kind(body: Any) -> str:
    """Return which of its bodies a request to / holds."""
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if isinstance(inputs, dict):
        return "similarity"
    if isinstance(inputs, list) and inputs and isinstance(inputs[0], list):
        return "predict"
    return "rerank" if isinstance(body, dict) and inputs is None and "query" in body else "embed"


RootBody = Annotated[
    Annotated[EmbedBody, Tag("embed")]
    | Annotated[RerankBody, Tag("rerank")]
    | Annotated[PredictBody, Tag("predict")]
    | Annotated[SimilarityBody, Tag("similarity")],
    Discriminator(_kind),
]


@router.post(
    "/",
    response_model=list[Rank] | CohereRanking | list[list[float]] | list[float] | list[list[Prediction]],
    response_model_exclude_none=True,
)
async def root(body: RootBody, request: Request) -> Response | Any:
    """Embed, rerank, predict or compare, by what the body holds."""
    if isinstance(body, RerankBody):
        return await rerank(body, request)
    if isinstance(body, PredictBody):
        return await predict(body, request)
    return await (similarity(body, request) if isinstance(body, SimilarityBody) else embed(body, request))
