"""Limits of a server: consistent, and documented in docs/serve.md."""

from pathlib import Path

import pytest

from flipkd.errors import UsageError
from flipkd.serve.limits import Limits
from flipkd.serve.service import QUERY_CHARACTERS
from flipkd.serve.strict_json import VALUES_PER_ITEM

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


def test_serve_page_lists_every_limit():
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


def test_limits_refuse_max_queue_below_max_items():
    with pytest.raises(UsageError, match="max_queue is 10 and max_items 50"):
        Limits(max_queue=10, max_items=50)
