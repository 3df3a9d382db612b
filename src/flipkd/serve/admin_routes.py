"""Routes for the people who run a server: reload the matchers, and change the aliases. The request guard checks the key."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from flipkd.serve.admin import Admin
from flipkd.serve.models import Models, UnknownModel
from flipkd.serve.problems import documented_responses
from flipkd.serve.shapes import Body
from flipkd.serve.strict_json import CODES, StrictRoute

router = APIRouter(prefix="/admin", tags=["admin"], route_class=StrictRoute, responses=documented_responses(*CODES))
MOST_ALIASES = 64  # also matchers of one alias; a log line and an error name them all
_Name = Annotated[str, Field(max_length=200)]
_Shares = Annotated[dict[_Name, float], Field(max_length=MOST_ALIASES)]


class ReloadBody(Body):
    """Body of /admin/reload: one matcher, or none for all."""

    model: str | None = None


class AliasesBody(Body):
    """Body of /admin/aliases: each alias with a matcher, with shares of several, or with null, which removes it."""

    aliases: Annotated[dict[_Name, _Name | _Shares | None], Field(max_length=MOST_ALIASES)]


@router.post("/reload", responses=documented_responses(409, 424))
async def reload_models(body: ReloadBody, request: Request) -> dict[str, Any]:
    """Load each matcher whose folder has changed, or one of them, and swap it for the old version."""
    models: Models = request.app.state.models
    if body.model is not None and body.model not in models.services:
        raise UnknownModel(f"no matcher has that name; there are: {', '.join(models.services)}")
    admin: Admin = request.app.state.admin
    return {"results": await admin.reload(body.model)}


@router.get("/aliases")
async def get_aliases(request: Request) -> dict[str, Any]:
    """Return all aliases with the shares of their matchers."""
    models: Models = request.app.state.models
    return {"aliases": models.aliases}


@router.post("/aliases")
async def set_aliases(body: AliasesBody, request: Request) -> dict[str, Any]:
    """Set the aliases of the body and remove those that are null, all at once; others stay."""
    admin: Admin = request.app.state.admin
    return {"aliases": await admin.set_aliases(body.aliases)}
