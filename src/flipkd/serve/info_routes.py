"""Routes that describe what a server has: its matchers, their versions and aliases, and the limits of a request."""

from __future__ import annotations

import re
from functools import partial
from pathlib import PureWindowsPath
from typing import Any

from fastapi import APIRouter, Request

from flipkd import __version__
from flipkd.serve import answers
from flipkd.serve.models import Models
from flipkd.serve.problems import documented_responses
from flipkd.serve.service import Service
from flipkd.serve.strict_json import CODES, StrictRoute

router = APIRouter(route_class=StrictRoute, responses=documented_responses(*CODES))


@router.get("/info")
async def info(request: Request) -> dict[str, Any]:
    """Describe the model of requests that name none, all others, and the limits of a request."""
    models: Models = request.app.state.models
    service, _ = models.choose(None, client=None)
    index, limits = service.loaded.index, models.limits
    size = index if index is None else await service.index_threads.run(partial(len, index), until=service.deadline())
    return {
        **_description(service),
        "index_size": size,
        "max_client_batch_size": limits.max_items,
        "max_body_bytes": limits.max_body_bytes,
        "max_batch_requests": limits.batch_size,
        "version": __version__,
        "default": models.default,
        "aliases": models.aliases,
        "models": {
            name: _description(each) if each.state == "ready" else {"state": each.state}
            for name, each in models.services.items()
        },
    }


def _description(service: Service) -> dict[str, Any]:
    matcher = service.loaded.matcher
    contract = matcher.contract
    return {
        "model_id": service.name,
        "model_sha": service.version,
        "base_model": _public_name(contract.base_model_name_or_path),
        "reading": contract.reading,
        "symmetric": contract.symmetric,
        "threshold": matcher.threshold,
        "review_threshold": matcher.review_threshold,
        "max_text_length": contract.max_text_length,
    }


@router.get("/v1/models", responses=documented_responses(*CODES, openai=True))
async def models(request: Request) -> answers.Models:
    """List the names and aliases that a request may have as `model`, in the format of OpenAI; the default comes first."""
    found: Models = request.app.state.models
    names = dict.fromkeys([found.default, *found.aliases, *found.services])
    started = request.app.state.started
    return answers.Models(data=[answers.ModelCard(id=name, created=started) for name in names])


def _public_name(name_or_path: str) -> str:
    """Return a model's name on the hub, or only the name of a local folder: clients must not see its path."""
    path = PureWindowsPath(name_or_path)  # accepts both kinds of slashes
    return name_or_path if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name_or_path) else path.name
