"""Routes: each accepts the body of one API, calls the service, and responds in the format of the same API."""

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

# Any route may return each of these: they also come from the request guard and the queue.
CODES = (400, 401, 403, 408, 413, 415, 422, 429, 500, 503, 504)
VECTORS = TypeAdapter(list[list[float]])
router = APIRouter(route_class=StrictRoute, responses=documented_responses(*CODES))


@router.post("/match")
async def match(body: MatchBody, request: Request) -> Matches:
    """Return score, calibrated probability and decision of each pair."""
    service = _service(request)
    found = await _match_pairs(service, [(left, right) for left, right in body.pairs])
    rows = [MatchRow(index=index, **_pair_fields(row)) for index, row in enumerate(found)]
    return Matches(results=rows, model=service.name, revision=service.revision)


@router.post("/rerank", response_model_exclude_none=True)
@router.post("/v1/rerank", response_model_exclude_none=True)
@router.post("/v2/rerank", response_model_exclude_none=True)
async def rerank(body: RerankBody, request: Request) -> list[Rank] | CohereRanking:
    """Rank documents by falling probability of a match, in the format of text-embeddings-inference or of Cohere."""
    service = _service(request)
    checked_texts([body.query], "query")
    if body.texts is not None:
        return await _rerank_texts(body, checked_texts(body.texts), service)
    documents = checked_texts([document.text for document in body.documents or []], "document")
    found = await _match_pairs(service, [(body.query, document) for document in documents])
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
    found = await _match_pairs(service, [(body.query, text) for text in texts], allow_truncation=body.truncate)
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
    """Return the probability of each pair of text_1 and text_2, in the format of vLLM."""
    service = _service(request)
    left, right = ([side] if isinstance(side, str) else side for side in (body.text_1, body.text_2))
    if len(left) == 1:
        left = left * len(right)
    if len(left) != len(right):
        raise HTTPException(
            422, f"text_1 has {len(left)} texts and text_2 {len(right)}; give equally many, or one text_1 for all"
        )
    found = await _match_pairs(service, list(zip(left, right, strict=True)))
    data = [Score(index=index, score=row.score if body.raw else row.probability) for index, row in enumerate(found)]
    usage = usage_of(row.tokens for row in found)
    return Scores(id=f"score-{uuid4()}", created=int(time.time()), model=service.name, data=data, usage=usage)


@router.post("/search")
async def search(body: SearchBody, request: Request) -> SearchResponse:
    """Return the entries of the index that match a text best: the nearest `candidates`, scored as pairs."""
    service = _service(request)
    entries = service.loaded.index.entries if service.loaded.index else []
    candidates = min(max(body.candidates, body.top_k), len(entries) or 1)
    if "candidates" not in body.model_fields_set:
        candidates = min(candidates, max(service.limits.max_items, body.top_k))
    check_count(candidates, most=service.limits.max_items)
    until = service.deadline()
    nearest = await service.nearest(body.query, candidates=candidates, until=until)
    found = await service.match([(body.query, entries[position]["text"]) for position, _ in nearest], until=until)
    results = search_results(nearest, [_pair_fields(row) for row in found], entries, top_k=body.top_k)
    return SearchResponse(results=results, model=service.name, revision=service.revision)


@router.post("/embed", response_model=list[list[float]])
async def embed(body: EmbedBody, request: Request) -> Response:
    """Return a unit vector of each text, in the format of text-embeddings-inference."""
    found = await _encode_texts(_service(request), body.inputs, allow_truncation=body.truncate)
    _check_width(found, body.dimensions)
    # FastAPI would validate each of up to a million numbers first and block all other requests.
    return Response(VECTORS.dump_json([row.vector for row in found]), media_type="application/json")


@router.post("/v1/embeddings")
async def embeddings(body: EmbeddingsBody, request: Request) -> Embeddings:
    """Return a unit vector of each text, in the format of OpenAI."""
    service = _service(request)
    found = await _encode_texts(service, body.input)
    _check_width(found, body.dimensions)
    data = [Embedding(index=index, embedding=_embedding_value(row, body)) for index, row in enumerate(found)]
    return Embeddings(model=service.name, data=data, usage=usage_of(row.tokens for row in found))


def _embedding_value(row: EncodedText, body: EmbeddingsBody) -> list[float] | str:
    if body.encoding_format == "float":
        return row.vector
    return base64.b64encode(np.array(row.vector, "<f4").tobytes()).decode()


@router.get("/info")
async def info(request: Request) -> dict[str, Any]:
    """Describe the model, and the limits of a request."""
    service = _service(request)
    matcher, index = service.loaded.matcher, service.loaded.index
    contract = matcher.contract
    return {
        "model_id": service.name,
        "model_sha": service.revision,
        "base_model": _public_name(contract.base_model_name_or_path),
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


async def _match_pairs(
    service: Service, pairs: list[tuple[str, str]], *, allow_truncation: bool = True
) -> list[Match]:
    found = await service.match(pairs, until=service.deadline())
    _check_truncation(service, found, allow_truncation=allow_truncation)
    return found


async def _encode_texts(
    service: Service, texts: str | list[str], *, allow_truncation: bool = True
) -> list[EncodedText]:
    rows = [texts] if isinstance(texts, str) else texts
    if service.loaded.matcher.contract.reading == "joint":
        raise HTTPException(
            422,
            "this matcher encodes both texts of a pair together and has no vectors of single texts; train with reading=separate",
        )
    found = await service.encode(rows, until=service.deadline())
    _check_truncation(service, found, allow_truncation=allow_truncation)
    return found


def _check_width(found: Sequence[EncodedText], dimensions: int) -> None:
    width = len(found[0].vector) if found else 0
    if found and dimensions not in (0, width):
        raise HTTPException(422, f"dimensions is {dimensions}; the vectors have {width} and are not shortened")


def _check_truncation(service: Service, found: Sequence[Match | EncodedText], *, allow_truncation: bool) -> None:
    truncated = [index for index, row in enumerate(found) if row.truncated]
    if truncated and not allow_truncation:
        limit = service.loaded.matcher.contract.max_text_length
        raise DataError(f"item {truncated[0]} has a text of more than {limit} tokens, and truncate is false")


def _public_name(name_or_path: str) -> str:
    """Return a model's name on the hub, or only the name of a local folder: clients must not see its path."""
    path = PureWindowsPath(name_or_path)  # accepts both kinds of slashes
    return name_or_path if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name_or_path) else path.name


def _pair_fields(row: Match) -> dict[str, Any]:
    return {name: getattr(row, name) for name in PairResult.model_fields}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
