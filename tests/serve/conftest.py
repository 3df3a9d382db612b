"""Two servers with a null matcher, for all tests of this folder."""

import pytest
from servers import null_server


@pytest.fixture(scope="package")
def null():
    """Start a server with small limits."""
    limits = {"max_items": 50, "max_queue": 64, "batch_size": 4, "max_body_bytes": 20_000}
    with null_server(**limits, timeout=3.0, header_timeout=0.5, body_timeout=0.5) as server:
        yield server.until_ready()


@pytest.fixture(scope="package")
def server():
    """Start a server with the default limits."""
    with null_server() as server:
        yield server.until_ready()
