"""What a server allows: every bound of it in one place."""

from __future__ import annotations

from dataclasses import dataclass

from flipkd.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one server; times are in seconds."""

    batch_size: int = 32
    """Pairs or texts per pass of the model."""
    max_wait: float = 0.0
    """How long a pass that is not full waits for more."""
    max_items: int = 1000
    """Pairs or texts of one request."""
    max_queue: int = 4096
    """Pairs or texts that may wait; more are told to come back."""
    max_body_bytes: int = 2_000_000
    max_held_bytes: int = 256_000_000
    """Of the bodies of all requests that are being read or answered."""
    timeout: float = 30.0
    """From the last byte of a request to its answer."""
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    max_connections: int = 2048
    grace: float = 30.0
    """After SIGTERM, for requests that were accepted before."""
    probe_interval: float = 5.0
    """Between two tries of a model that failed."""

    def __post_init__(self) -> None:
        if self.max_queue < self.max_items:
            raise UsageError(
                f"max_queue is {self.max_queue} and max_items {self.max_items}: a request of that many would never fit; "
                "raise the one or lower the other"
            )
