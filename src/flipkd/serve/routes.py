"""Routes: each accepts the body of one API, calls the service, and responds in the format of the same API."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException

from flipkd.inputs import checked_texts
from flipkd.ranking import by_falling_score, search_results
from flipkd.serve.answers import (
    CohereDocument,
    CohereRank,
    CohereRanking,
    Matches,
    MatchRow,
    PairResult,
    Rank,
    Score,
    Scores,
    SearchResponse,
    usage_of,
)
from flipkd.serve.calls import match_pairs, service_of
from flipkd.serve.chosen import Chosen
from flipkd.serve.index_shapes import SearchBody
from flipkd.serve.loaded import Match
from flipkd.serve.problems import documented_responses
from flipkd.serve.shapes import MatchBody, RerankBody, ScoreBody
from flipkd.serve.strict_json import CODES, StrictRoute, check_count

router = APIRouter(route_class=StrictRoute, responses=documented_responses(*CODES))
OPENAI_RESPONSES = documented_responses(*CODES, openai=True)


@router.post("/match")
async def match(body: MatchBody, request: Request) -> Matches:
    """Return score, calibrated probability and decision of each pair."""
    service_of(request, body)
    found = await match_pairs(request, [(left, right) for left, right in body.pairs])
    chosen: Chosen = request.state.chosen
    rows = [
        MatchRow(index=index, answer_id=chosen.pair_id(index), **_pair_fields(row)) for index, row in enumerate(found)
    ]
    return Matches(results=rows, model=chosen.service.name, revision=chosen.version)


@router.post("/rerank", response_model_exclude_none=True)
@router.post("/v1/rerank", response_model_exclude_none=True, responses=OPENAI_RESPONSES)
@router.post("/v2/rerank", response_model_exclude_none=True)
async def rerank(body: RerankBody, request: Request) -> list[Rank] | CohereRanking:
    """Rank documents by falling probability of a match, in the format of text-embeddings-inference or of Cohere."""
    service = service_of(request, body)
    checked_texts([body.query], "query")
    texts = checked_texts(body.candidates(), "text" if body.documents is None else "document")
    found = await match_pairs(request, [(body.query, text) for text in texts], allow_truncation=body.truncate)
    scores = [row.score if body.raw else row.probability for row in found]
    best = by_falling_score([row.score for row in found])[: body.top_n or None]
    if body.documents is None:
        return [
            Rank(index=index, score=scores[index], text=texts[index] if body.with_text else None) for index in best
        ]
    results = [
        CohereRank(
            index=index,
            relevance_score=scores[index],
            document=CohereDocument(text=texts[index]) if body.with_text else None,
        )
        for index in best
    ]
    return CohereRanking(id=request.state.chosen.id, model=service.name, results=results)


@router.post("/score")
@router.post("/v1/score", responses=OPENAI_RESPONSES)
async def score(body: ScoreBody, request: Request) -> Scores:
    """Return the probability of each pair of text_1 and text_2, in the format of vLLM."""
    service = service_of(request, body)
    left, right = ([side] if isinstance(side, str) else side for side in (body.text_1, body.text_2))
    if len(left) == 1:
        left = left * len(right)
    if len(left) != len(right):
        raise HTTPException(
            422, f"text_1 has {len(left)} texts and text_2 {len(right)}; give equally many, or one text_1 for all"
        )
    found = await match_pairs(request, list(zip(left, right, strict=True)))
    data = [Score(index=index, score=row.score if body.raw else row.probability) for index, row in enumerate(found)]
    usage = usage_of(row.tokens for row in found)
    return Scores(id=request.state.chosen.id, created=int(time.time()), model=service.name, data=data, usage=usage)


@router.post("/search")
async def search(body: SearchBody, request: Request) -> SearchResponse:
    """Return the entries of the index that match a text best: the nearest `candidates`, scored as pairs."""
    service = service_of(request, body)
    chosen: Chosen = request.state.chosen
    until, index = service.deadline(), service.loaded.index
    candidates = max(body.candidates, body.top_k)
    if index is not None and candidates > service.limits.max_items:
        candidates = min(candidates, await service.index_threads.run(partial(len, index), until=until) or 1)
    if "candidates" not in body.model_fields_set:
        candidates = min(candidates, max(service.limits.max_items, body.top_k))
    check_count(candidates, most=service.limits.max_items)
    hits = await service.nearest(body.query, candidates=candidates, until=until, where=body.where)
    found = await match_pairs(request, [(body.query, hit.entry["text"]) for hit in hits], until=until)
    rows = [_pair_fields(row) | {"answer_id": chosen.pair_id(place)} for place, row in enumerate(found)]
    results = search_results(hits, rows, top_k=body.top_k)
    return SearchResponse(results=results, model=service.name, revision=chosen.version)


def _pair_fields(row: Match) -> dict[str, Any]:
    return {name: getattr(row, name) for name in PairResult.model_fields}
