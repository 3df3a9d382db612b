"""Bodies of the routes of /admin."""

from __future__ import annotations

from flipkd.serve.shapes import Body


class ReloadBody(Body):
    """Body of /admin/reload: one matcher, or none for all."""

    model: str | None = None


class AliasesBody(Body):
    """Body of /admin/aliases: each alias with a matcher, with shares of several, or with null, which removes it."""

    aliases: dict[str, str | dict[str, float] | None]
