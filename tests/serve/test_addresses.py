"""Addresses: X-Forwarded-For counts only behind a trusted proxy."""

import pytest

from flipkd.errors import UsageError
from flipkd.serve.addresses import client_address, read_networks

TRUSTED = read_networks(["10.0.0.0/8", "127.0.0.1", "fd00::/8"])


@pytest.mark.scenario("X12")
@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("198.51.100.7", "", "198.51.100.7"),
        ("198.51.100.7", "203.0.113.9", "198.51.100.7"),  # not a proxy of ours
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "192.0.2.1, 203.0.113.9", "203.0.113.9"),  # the client wrote the first itself
        ("10.0.0.1", "192.0.2.1, 203.0.113.9, 10.2.3.4", "203.0.113.9"),
        ("10.0.0.1", "10.9.9.9, 10.2.3.4", "10.9.9.9"),
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", '"[2001:db8::1]:80"', "2001:db8::1"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("fd00::1", "2001:db8::2", "2001:db8::2"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, <script>", "10.0.0.1"),
        (None, "203.0.113.9", "unknown"),
    ],
)
def test_client_address(peer, forwarded, expected):
    assert client_address(peer, forwarded, trusted=TRUSTED) == expected


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy", "10.0.0.0/33", ""])
def test_wrong_networks_are_refused(text):
    with pytest.raises(UsageError, match="trusted_proxies"):
        read_networks([text])
