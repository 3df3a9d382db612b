"""Aliases: other names of matchers, each for one matcher or for several by shares of the clients."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping
from typing import Any

from flipkd.errors import UsageError, nearest

Aliases = dict[str, dict[str, float]]
"""Alias -> matcher -> weight; the order of the matchers decides which clients change when the weights do."""
HASH_RANGE = 2**64


def read_aliases(given: Mapping[str, Any], *, matchers: list[str]) -> Aliases:
    """Read `{alias: matcher}` and `{alias: {matcher: share, ...}}`. Raises UsageError for a wrong name or share."""
    return {alias: _read_target(alias, target, matchers) for alias, target in given.items()}


def _read_target(alias: str, target: Any, matchers: list[str]) -> dict[str, float]:
    if alias in matchers:
        raise UsageError(f"alias {alias}: is the name of a matcher; choose another name for the alias")
    shares = {target: 1.0} if isinstance(target, str) else target
    if not isinstance(shares, Mapping) or not shares:
        raise UsageError(f"alias {alias}: write the name of a matcher, or shares as {{faq-v1: 90, faq-v2: 10}}")
    for name, share in shares.items():
        if name not in matchers:
            raise UsageError(f"alias {alias}: no matcher is called {name!r}; {nearest(str(name), matchers)}")
        if isinstance(share, bool) or not isinstance(share, int | float) or not math.isfinite(share) or share < 0:
            raise UsageError(f"alias {alias}: the share of {name} is {share!r}; it must be a number of at least 0")
    if not any(shares.values()):
        raise UsageError(f"alias {alias}: all shares are 0; at least one must be above")
    return {name: float(share) for name, share in shares.items()}


def choose(alias: str, shares: Mapping[str, float], client: str | None) -> str:
    """Choose a matcher by the shares: always the same for a client while they stay, by chance without a client.

    A client is a point between 0 and 1, by the hash of alias and client, and each matcher an interval in the given order.
    So when a share grows, only the clients that it gains get another matcher.
    """
    names = [name for name, share in shares.items() if share > 0]
    point = random.random() if client is None else _hash(f"{alias}\0{client}") / HASH_RANGE
    bound, total = 0.0, sum(shares.values())
    for name in names:
        bound += shares[name] / total
        if point < bound:
            return name
    return names[-1]  # the sum may be below 1 by rounding


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])
