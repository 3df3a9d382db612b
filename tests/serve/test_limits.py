"""The bounds of a server: written once, and told in the page."""

from pathlib import Path

import pytest

from flipkd.errors import UsageError
from flipkd.serve.limits import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


def test_the_page_tells_every_bound():
    limits = Limits()
    for value in ("max_items", "max_queue"):
        assert f"`--{value}` | {getattr(limits, value)} pairs or texts" in PAGE
    assert f"| {limits.max_body_bytes:,} |" in PAGE
    assert f"| {limits.max_connections:,} |" in PAGE
    assert f"| {limits.header_timeout:.0f} s, {limits.body_timeout:.0f} s to arrive |" in PAGE
    assert f"| {limits.timeout:.0f} s from the body to the answer |" in PAGE


def test_a_queue_that_no_large_request_fits_in_is_refused():
    with pytest.raises(UsageError, match="max_queue is 10 and max_items 50"):
        Limits(max_queue=10, max_items=50)
