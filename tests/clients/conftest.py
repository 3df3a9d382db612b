"""A server for the clients of other APIs; what they would fetch or send elsewhere is turned off."""

from __future__ import annotations

import gc
import importlib
import os

import huggingface_hub
import pytest
from servers import null_server

os.environ |= {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LANGSMITH_TRACING": "false",
}


@pytest.fixture(scope="package")
def server():
    """Start a server with a null matcher: a pair's score is the number in its first text."""
    with null_server() as server:
        yield server.until_ready()
    gc.collect()  # some clients leave connections open; a warning about one belongs to these tests, which ignore it


@pytest.fixture
def url(server) -> str:
    """Address of the server."""
    return "http://{}:{}".format(*server.address)


@pytest.fixture
def probability(server):
    """`probability(query)` -> what /match returns for a query and any document."""
    return lambda query: server.request("/match", {"pairs": [[query, "x"]]}).json["results"][0]["probability"]


@pytest.fixture
def client():
    """`client(module)` -> the imported module; the test is skipped where it is not installed."""

    def load(module: str):
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            pytest.skip(f"{module} is not installed: make test-clients")
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            pytest.skip(f"{error.name} is not installed: make test-clients")

    return load


@pytest.fixture
def hub_client_is_online(monkeypatch):
    """Let huggingface_hub send requests: the other tests turn that off, and these send them to this machine."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield
    huggingface_hub.close_session()
