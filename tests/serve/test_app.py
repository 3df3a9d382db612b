"""Health checks and HEAD requests."""

import pytest


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health", "/"])
def test_app_answers_head_requests_with_an_empty_response(null, path):
    answer = null.request(path, method="HEAD")
    assert (answer.status, answer.text) == (200, "")
