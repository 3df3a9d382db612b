"""Two servers for all tests of what is not the model."""

import pytest
from servers import null_server


@pytest.fixture(scope="package")
def null():
    """One with small limits."""
    limits = {"max_items": 50, "max_queue": 64, "batch_size": 4, "max_body_bytes": 20_000}
    with null_server(**limits, timeout=3.0, header_timeout=0.5, body_timeout=0.5) as server:
        yield server.until_ready()


@pytest.fixture(scope="package")
def server():
    """One with the limits that it has by default."""
    with null_server() as server:
        yield server.until_ready()
