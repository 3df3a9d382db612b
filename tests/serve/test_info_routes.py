"""Routes that describe a server: one model, an index or none, a model that still loads."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from flipkd import __version__
from flipkd.serve.info_routes import _public_name, info, models
from flipkd.serve.limits import Limits


def test_v1_models_lists_the_one_model(null):
    found = null.request("/v1/models").json
    [model] = found["data"]
    assert (found["object"], model["id"], model["object"]) == ("list", "null", "model")
    assert 0 <= time.time() - model["created"] < 3600


def test_info_describes_the_one_model_its_index_and_the_limits(null):
    found = null.request("/info").json
    described = {
        "model_id": "null",
        "model_sha": "r1",
        "base_model": "null",
        "reading": "separate",
        "symmetric": False,
        "threshold": 100.0,
        "review_threshold": None,
        "max_text_length": 128,
    }
    assert found == {
        **described,
        "index_size": 9,
        "max_client_batch_size": 50,
        "max_body_bytes": 20_000,
        "max_batch_requests": 4,
        "version": __version__,
        "default": "null",
        "aliases": {},
        "models": {"null": described},
    }


def service(name, state="ready"):
    """Stand-in for a Service without an index."""
    contract = SimpleNamespace(
        base_model_name_or_path=f"/models/{name}", reading="joint", symmetric=True, max_text_length=64
    )
    matcher = SimpleNamespace(contract=contract, threshold=0.0, review_threshold=None)
    loaded = SimpleNamespace(matcher=matcher, index=None)
    return SimpleNamespace(name=name, version=f"{name}-1", state=state, loaded=loaded if state == "ready" else None)


def request(*services, **aliases):
    named = {each.name: each for each in services}
    found = SimpleNamespace(
        services=named,
        aliases=aliases,
        default=services[0].name,
        limits=Limits(),
        choose=lambda name, *, client: (services[0], None),
    )
    return SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(models=found, started=7)))


def test_info_of_a_server_without_an_index_whose_other_matcher_still_loads():
    found = asyncio.run(info(request(service("a"), service("b", "loading"), live={"a": 1.0})))
    assert found["index_size"] is None
    assert (found["model_id"], found["base_model"], found["aliases"]) == ("a", "a", {"live": {"a": 1.0}})
    assert found["models"]["a"]["model_sha"] == "a-1"
    assert found["models"]["b"] == {"state": "loading"}


def test_models_lists_each_name_once_with_the_default_first():
    found = asyncio.run(models(request(service("b"), service("a"), live={"a": 1.0})))
    assert [(row.id, row.created) for row in found.data] == [("b", 7), ("live", 7), ("a", 7)]


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("/data/models/gemma-3-270m", "gemma-3-270m"),
        ("C:\\models\\gemma", "gemma"),
        ("../models/gemma/", "gemma"),
        ("~/a b/gemma", "gemma"),
        ("google/gemma-3-270m", "google/gemma-3-270m"),
        ("gpt2", "gpt2"),
    ],
)
def test_public_name_hides_the_folder_of_the_base_model(stored, shown):
    assert _public_name(stored) == shown
