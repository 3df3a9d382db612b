"""Addresses of clients: loopback, and those that a trusted proxy reports in X-Forwarded-For."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from flipkd.errors import UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
UNKNOWN = "unknown"


def is_loopback(host: str) -> bool:
    """True when only this machine can reach `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_networks(texts: Sequence[str]) -> list[Network]:
    """Read networks as 10.0.0.0/8, or single addresses. Raises UsageError."""
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text.strip()))
        except ValueError as error:
            raise UsageError(
                f"--trusted_proxies: {text!r} is not a network ({error}); write for example 10.0.0.0/8 or 127.0.0.1"
            ) from None
    return found


def client_address(peer: str | None, forwarded: str, *, trusted: Sequence[Network]) -> str:
    """Return the address of a client: that of the connection, or what trusted proxies say in X-Forwarded-For.

    Each proxy appends the address that it sees, so the list is read from its end: the first address that is no trusted proxy
    is the client. A client can write what it wants into the header, but only before that.
    """
    current = _address(peer or "")
    for text in reversed(forwarded.split(",")):
        if current is None or not _is_trusted(current, trusted):
            break
        reported = _address(text)
        if reported is None:
            break
        current = reported
    return UNKNOWN if current is None else str(current)


def _address(text: str) -> Address | None:
    """Read an address, also with a port or in brackets; None for anything else."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in trusted)
