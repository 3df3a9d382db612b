"""The bounds of a server: written once, and told in the page."""

from pathlib import Path

import pytest

from flipkd.errors import UsageError
from flipkd.serve.limits import Limits
from flipkd.serve.service import QUERY_CHARACTERS
from flipkd.serve.strict_json import VALUES_PER_ITEM

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


def test_the_page_tells_every_bound():
    limits = Limits()
    for value in ("max_items", "max_queue"):
        assert f"`--{value}` | {getattr(limits, value)} pairs or texts" in PAGE
    assert f"| {limits.max_body_bytes:,} |" in PAGE
    assert f"| {limits.max_held_bytes:,} |" in PAGE
    assert f"| {VALUES_PER_ITEM} for each of `--max_items` |" in PAGE
    assert f"that is {QUERY_CHARACTERS:,} characters" in PAGE
    assert f"| {limits.max_connections:,} |" in PAGE
    assert f"| {limits.header_timeout:.0f} s, {limits.body_timeout:.0f} s to arrive |" in PAGE
    assert f"| {limits.timeout:.0f} s from the body to the answer |" in PAGE


def test_a_queue_that_no_large_request_fits_in_is_refused():
    with pytest.raises(UsageError, match="max_queue is 10 and max_items 50"):
        Limits(max_queue=10, max_items=50)
