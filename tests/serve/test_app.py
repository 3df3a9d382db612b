"""Health checks and HEAD requests."""

import pytest


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health", "/"])
def test_head_requests_get_an_empty_response(null, path):
    answer = null.request(path, method="HEAD")
    assert (answer.status, answer.text) == (200, "")
