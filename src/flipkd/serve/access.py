"""Access: which key a request has, what it may do with it, and how many requests a minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi.responses import Response
from starlette.types import Scope

from flipkd.serve.addresses import Network, client_address
from flipkd.serve.keys import Keys, RateLimits
from flipkd.serve.problems import CLOSE, problem

ADMIN_PATHS = "/admin"


class Access:
    """Keys and limits of a server; without keys every request has access, but none to /admin."""

    def __init__(
        self, keys: Keys | None = None, *, trusted_proxies: Sequence[Network] = (), per_minute: int | None = None
    ) -> None:
        self.keys = keys
        self._trusted, self._per_minute = trusted_proxies, per_minute
        self._by_key, self._by_address = RateLimits(), RateLimits()

    def refusal(self, scope: Scope, headers: Mapping[str, bytes]) -> Response | None:
        """Return the error response of a request that has no valid key, may not use its path or sends too often."""
        if self._per_minute is not None:
            wait = self._by_address.retry_after(self.address(scope, headers), self._per_minute)
            if wait:
                return _too_many("this address", self._per_minute, wait)
        is_admin = scope["path"] == ADMIN_PATHS or scope["path"].startswith(f"{ADMIN_PATHS}/")
        if self.keys is None:
            text = "this server has no API key, so that nobody may use /admin; start it with --api_key_file"
            return problem(403, text, headers=CLOSE) if is_admin else None
        scheme, _, secret = headers.get("authorization", b"").partition(b" ")
        key = self.keys.find(secret.strip()) if scheme.lower() == b"bearer" else None
        if key is None:
            challenge = CLOSE | {"www-authenticate": "Bearer"}
            return problem(401, "no valid API key; send the header Authorization: Bearer KEY", headers=challenge)
        if is_admin and key.name not in self.keys.admins:
            return problem(403, "this API key may not use /admin; use one that is marked admin", headers=CLOSE)
        if key.per_minute is not None and (wait := self._by_key.retry_after(key.name, key.per_minute)):
            return _too_many("this API key", key.per_minute, wait)
        return None

    def address(self, scope: Scope, headers: Mapping[str, bytes]) -> str:
        """Return the address of the client of a request."""
        forwarded = headers.get("x-forwarded-for", b"").decode("latin-1")
        return client_address((scope.get("client") or ("", 0))[0], forwarded, trusted=self._trusted)


def _too_many(who: str, per_minute: int, wait: int) -> Response:
    text = f"{who} may send {per_minute} requests per minute; try again in {wait} s"
    return problem(429, text, headers=CLOSE | {"retry-after": str(wait)})
