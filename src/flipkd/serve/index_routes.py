"""Routes that change the index of a server: they need an API key, and answer when the change is on the disk."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException

from flipkd.errors import ResourceError, UsageError
from flipkd.index import Index
from flipkd.inputs import checked_texts
from flipkd.serve.answers import IndexChange
from flipkd.serve.chosen import choose
from flipkd.serve.index_shapes import DeleteBody, UpsertBody
from flipkd.serve.problems import DRAINING, documented_responses
from flipkd.serve.service import Service
from flipkd.serve.strict_json import CODES, StrictRoute

if TYPE_CHECKING:
    from flipkd.index.lance import LanceIndex
    from flipkd.index.writing import Change

logger = logging.getLogger(__name__)
router = APIRouter(route_class=StrictRoute, responses=documented_responses(*CODES))


@router.put("/index")
@router.post("/index")
async def upsert(body: UpsertBody, request: Request) -> IndexChange:
    """Write entries to the index; one whose id is there is replaced. All or none are written, as one version."""
    from flipkd.index import writing
    from flipkd.index.columns import check_ids, content_id, converted

    index, service = _writable_index(request)
    until = service.deadline()
    checked_texts([entry.text for entry in body.entries], "entry")
    rows = [converted(entry.model_dump(exclude_none=True), index.columns) for entry in body.entries]
    rows = [row if "id" in row else {"id": content_id(row)} | row for row in rows]
    check_ids(rows)
    known = await service.index_threads.run(partial(index.known_vectors, rows), until=until)
    new = [row["text"] for row in rows if row["id"] not in known]
    vectors = writing.with_known(rows, known, await service.encode_for_index(new, "entries", until=until))
    change = await _write(service, partial(writing.upsert, index, rows, vectors), until=until)
    return IndexChange(**change._asdict(), embedded=len(new))


@router.delete("/index")
async def delete(body: DeleteBody, request: Request) -> IndexChange:
    """Delete the entries with these ids, as far as they are there, or those that fulfil a filter."""
    from flipkd.index import writing

    index, service = _writable_index(request)
    work = partial(writing.delete, index, ids=body.ids, where=body.where)
    change = await _write(service, work, until=service.deadline())
    return IndexChange(**change._asdict())


def _writable_index(request: Request) -> tuple[LanceIndex, Service]:
    """Return the index of a server that has an API key, and the service with its encoder.

    Raises 403 without a key, 422 for an index in memory or none.
    """
    if not request.app.state.has_key:
        raise HTTPException(403, "changes of the index need an API key; start the server with --api_key_file")
    service = choose(request).service
    index = service.loaded.index
    if index is None or isinstance(index, Index):
        raise HTTPException(422, "this server has no index that can be changed; build one with --engine lancedb")
    return index, service  # type: ignore[return-value]


async def _write(service: Service, work: Callable[..., Change], *, until: float) -> Change:
    """Run a write of the index after the writes of other requests. Raises 503 when it cannot be made now, TimeoutError."""
    async with asyncio.timeout(max(until - time.monotonic(), 0.0)):
        await service.index_threads.lock.acquire()
    try:
        left = max(until - time.monotonic(), 0.0)
        return await service.index_threads.run(partial(work, patience=left), until=until)
    except UsageError as error:
        raise HTTPException(422, str(error)) from None
    except ResourceError as error:
        logger.error("the index cannot be written: %s", error)
        detail = "the index cannot be written: the disk is full, or another process writes to it for too long"
        raise HTTPException(503, detail, headers={"retry-after": str(DRAINING)}) from None
    finally:
        service.index_threads.lock.release()
