"""Bodies of the routes of /admin."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flipkd.serve.shapes import Body

MOST_ALIASES = 64  # also matchers of one alias; a log line and an error name them all
_Name = Annotated[str, Field(max_length=200)]
_Shares = Annotated[dict[_Name, float], Field(max_length=MOST_ALIASES)]


class ReloadBody(Body):
    """Body of /admin/reload: one matcher, or none for all."""

    model: str | None = None


class AliasesBody(Body):
    """Body of /admin/aliases: each alias with a matcher, with shares of several, or with null, which removes it."""

    aliases: Annotated[dict[_Name, _Name | _Shares | None], Field(max_length=MOST_ALIASES)]
