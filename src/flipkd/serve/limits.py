"""Limits of a server, all in one place."""

from __future__ import annotations

from dataclasses import dataclass

from flipkd.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one server; times are in seconds."""

    batch_size: int = 32
    """Pairs or texts per forward pass."""
    max_wait: float = 0.0
    """Time that a batch which is not full waits for more items."""
    max_items: int = 1000
    """Pairs or texts of one request."""
    max_queue: int = 4096
    """Pairs or texts in the queue; a request that does not fit gets 429."""
    max_body_bytes: int = 2_000_000
    max_held_bytes: int = 256_000_000
    """Sum of the bodies of all requests in progress."""
    timeout: float = 30.0
    """From the last byte of a request to its response."""
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    max_connections: int = 2048
    grace: float = 30.0
    """After SIGTERM, for the requests that were accepted before it."""
    probe_interval: float = 5.0
    """Between two test requests to a model that failed."""

    def __post_init__(self) -> None:
        if self.max_queue < self.max_items:
            raise UsageError(
                f"max_queue is {self.max_queue} and max_items {self.max_items}: a request of that size never fits in the queue; "
                "raise max_queue or lower max_items"
            )
