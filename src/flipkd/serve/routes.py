"""The routes: each reads a body in somebody's shape, asks the service, and answers in the same shape."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Sequence
from pathlib import PureWindowsPath
from typing import Any
from uuid import uuid4

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException

from flipkd import __version__
from flipkd.errors import DataError
from flipkd.inputs import checked_texts
from flipkd.ranking import by_falling_score, search_results
from flipkd.serve.answers import (
    CohereDocument,
    CohereRank,
    CohereRanking,
    Embedding,
    Embeddings,
    Matches,
    MatchRow,
    PairResult,
    Rank,
    Score,
    Scores,
    SearchResponse,
    usage_of,
)
from flipkd.serve.problems import documented_responses
from flipkd.serve.service import EncodedText, Match, Service
from flipkd.serve.shapes import EmbedBody, EmbeddingsBody, MatchBody, RerankBody, ScoreBody, SearchBody
from flipkd.serve.strict_json import StrictRoute, check_count

# Each may come from any route, from the gate before it or from the queue behind it.
CODES = (400, 401, 403, 408, 413, 415, 422, 429, 500, 503, 504)
VECTORS = TypeAdapter(list[list[float]])
router = APIRouter(route_class=StrictRoute, responses=documented_responses(*CODES))


@router.post("/match")
async def match(body: MatchBody, request: Request) -> Matches:
    """Score, calibrated probability and decision of each pair."""
    service = _service(request)
    found = await _matched(service, [(left, right) for left, right in body.pairs])
    rows = [MatchRow(index=index, **_judged(row)) for index, row in enumerate(found)]
    return Matches(results=rows, model=service.name, revision=service.revision)


@router.post("/rerank", response_model_exclude_none=True)
@router.post("/v1/rerank", response_model_exclude_none=True)
@router.post("/v2/rerank", response_model_exclude_none=True)
async def rerank(body: RerankBody, request: Request) -> list[Rank] | CohereRanking:
    """Documents by falling probability of matching the query, in the shape of text-embeddings-inference or of Cohere."""
    service = _service(request)
    checked_texts([body.query], "query")
    if body.texts is not None:
        return await _rerank_texts(body, checked_texts(body.texts), service)
    documents = checked_texts([document.text for document in body.documents or []], "document")
    found = await _matched(service, [(body.query, document) for document in documents])
    results = [
        CohereRank(
            index=index,
            relevance_score=found[index].score if body.raw else found[index].probability,
            document=CohereDocument(text=documents[index]) if body.return_documents else None,
        )
        for index in by_falling_score([row.score for row in found])[: body.top_n or None]
    ]
    return CohereRanking(id=str(uuid4()), model=service.name, results=results)


async def _rerank_texts(body: RerankBody, texts: list[str], service: Service) -> list[Rank]:
    found = await _matched(service, [(body.query, text) for text in texts], may_cut=body.truncate)
    return [
        Rank(
            index=index,
            score=found[index].score if body.raw else found[index].probability,
            text=texts[index] if body.return_text else None,
        )
        for index in by_falling_score([row.score for row in found])
    ]


@router.post("/score")
@router.post("/v1/score")
async def score(body: ScoreBody, request: Request) -> Scores:
    """Probability of each pair of text_1 and text_2, in the shape of vLLM."""
    service = _service(request)
    left, right = ([side] if isinstance(side, str) else side for side in (body.text_1, body.text_2))
    if len(left) == 1:
        left = left * len(right)
    if len(left) != len(right):
        raise HTTPException(
            422, f"text_1 has {len(left)} texts and text_2 {len(right)}; give as many, or one text_1 for all"
        )
    found = await _matched(service, list(zip(left, right, strict=True)))
    data = [Score(index=index, score=row.score if body.raw else row.probability) for index, row in enumerate(found)]
    usage = usage_of(row.tokens for row in found)
    return Scores(id=f"score-{uuid4()}", created=int(time.time()), model=service.name, data=data, usage=usage)


@router.post("/search")
async def search(body: SearchBody, request: Request) -> SearchResponse:
    """The entries of the index that match a text best: the nearest `candidates`, judged as pairs."""
    service = _service(request)
    entries = service.loaded.index.entries if service.loaded.index else []
    candidates = min(max(body.candidates, body.top_k), len(entries) or 1)
    if "candidates" not in body.model_fields_set:
        candidates = min(candidates, max(service.limits.max_items, body.top_k))
    check_count(candidates, most=service.limits.max_items)
    until = service.deadline()
    nearest = await service.nearest(body.query, candidates=candidates, until=until)
    found = await service.match([(body.query, entries[position]["text"]) for position, _ in nearest], until=until)
    results = search_results(nearest, [_judged(row) for row in found], entries, top_k=body.top_k)
    return SearchResponse(results=results, model=service.name, revision=service.revision)


@router.post("/embed", response_model=list[list[float]])
async def embed(body: EmbedBody, request: Request) -> Response:
    """A unit vector for each text, in the shape of text-embeddings-inference."""
    found = await _encoded(_service(request), body.inputs, may_cut=body.truncate)
    _check_width(found, body.dimensions)
    # FastAPI would look at each of what may be a million numbers first, while everybody else waits.
    return Response(VECTORS.dump_json([row.vector for row in found]), media_type="application/json")


@router.post("/v1/embeddings")
async def embeddings(body: EmbeddingsBody, request: Request) -> Embeddings:
    """A unit vector for each text, in the shape of OpenAI."""
    service = _service(request)
    found = await _encoded(service, body.input)
    _check_width(found, body.dimensions)
    data = [Embedding(index=index, embedding=_written(row, body)) for index, row in enumerate(found)]
    return Embeddings(model=service.name, data=data, usage=usage_of(row.tokens for row in found))


def _written(row: EncodedText, body: EmbeddingsBody) -> list[float] | str:
    if body.encoding_format == "float":
        return row.vector
    return base64.b64encode(np.array(row.vector, "<f4").tobytes()).decode()


@router.get("/info")
async def info(request: Request) -> dict[str, Any]:
    """What is served, and what a request may hold."""
    service = _service(request)
    matcher, index = service.loaded.matcher, service.loaded.index
    contract = matcher.contract
    return {
        "model_id": service.name,
        "model_sha": service.revision,
        "base_model": _name(contract.base_model_name_or_path),
        "reading": contract.reading,
        "symmetric": contract.symmetric,
        "threshold": matcher.threshold,
        "review_threshold": matcher.review_threshold,
        "max_text_length": contract.max_text_length,
        "index_size": None if index is None else len(index),
        "max_client_batch_size": service.limits.max_items,
        "max_body_bytes": service.limits.max_body_bytes,
        "max_batch_requests": service.limits.batch_size,
        "version": __version__,
    }


async def _matched(service: Service, pairs: list[tuple[str, str]], *, may_cut: bool = True) -> list[Match]:
    found = await service.match(pairs, until=service.deadline())
    _check_cut(service, found, may_cut=may_cut)
    return found


async def _encoded(service: Service, texts: str | list[str], *, may_cut: bool = True) -> list[EncodedText]:
    rows = [texts] if isinstance(texts, str) else texts
    if service.loaded.matcher.contract.reading == "joint":
        raise HTTPException(
            422,
            "this matcher reads both texts together, so it has no vectors of single ones; train with reading=separate",
        )
    found = await service.encode(rows, until=service.deadline())
    _check_cut(service, found, may_cut=may_cut)
    return found


def _check_width(found: Sequence[EncodedText], dimensions: int) -> None:
    width = len(found[0].vector) if found else 0
    if found and dimensions not in (0, width):
        raise HTTPException(422, f"dimensions is {dimensions}; the vectors have {width} and are not cut")


def _check_cut(service: Service, found: Sequence[Match | EncodedText], *, may_cut: bool) -> None:
    cut = [index for index, row in enumerate(found) if row.truncated]
    if cut and not may_cut:
        most = service.loaded.matcher.contract.max_text_length
        raise DataError(f"item {cut[0]} has a text of more than {most} tokens, and truncate is false")


def _name(name_or_path: str) -> str:
    """A model's name on the hub as it is; of a folder its name, for where it lies is nobody's business."""
    path = PureWindowsPath(name_or_path)  # which knows both kinds of slashes
    return name_or_path if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name_or_path) else path.name


def _judged(row: Match) -> dict[str, Any]:
    return {name: getattr(row, name) for name in PairResult.model_fields}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
