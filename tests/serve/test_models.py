"""Several matchers in one server: names, aliases, shares of clients, and a matcher whose thread dies."""

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import with_clients
from served_versions import BEARER, server_of, write_version
from servers import null_server

from flipkd.errors import UsageError
from flipkd.serve.limits import Limits
from flipkd.serve.models import Models, Plan


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    settings = {"aliases": {"live": "faq-v1", "test": {"faq-v1": 90, "faq-v2": 10}}, "default": "live"}
    with server_of(tmp_path_factory.mktemp("versions"), "faq-v1", "faq-v2", **settings) as server:
        yield server


def requested(server, path="/match", body=None, **headers):
    return server.request(path, {"pairs": [["1", "x"]]} | (body or {}), **BEARER, **headers)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/match", {"pairs": [["1", "x"]]}),
        ("/v2/rerank", {"query": "1", "documents": ["x"], "raw_scores": True}),
        ("/rerank", {"query": "1", "texts": ["x"], "raw_scores": True}),
        ("/v1/score", {"text_1": "1", "text_2": "x", "use_activation": False}),
        ("/predict", {"inputs": ["1", "x"], "raw_scores": True}),
    ],
)
@pytest.mark.parametrize(("model", "name"), [("faq-v2", "faq-v2"), ("live", "faq-v1"), (None, "faq-v1")])
def test_each_format_chooses_the_matcher_and_names_it(server, path, body, model, name):
    reply = server.request(path, body | {"model": model}, **BEARER)
    assert reply.status == 200, reply
    assert (reply.headers["x-model"], reply.headers["x-model-version"]) == (name, f"{name}-1")
    assert len(reply.headers["x-answer-id"]) == 32
    assert {"faq-v1": "1001.0", "faq-v2": "2001.0"}[name] in reply.text
    if isinstance(reply.json, dict):
        assert reply.json["model"] == name


def test_models_answer_an_unknown_name_with_404_and_the_list(server):
    refused = requested(server, body={"model": "x"})
    assert refused.status == 404
    assert "it has: live, test, faq-v1, faq-v2" in refused.json["detail"]
    refused = server.request("/v1/score", {"text_1": "a", "text_2": "b", "model": "x"}, **BEARER)
    assert refused.status == 404
    assert refused.json["error"]["param"] == "model"


def test_models_of_one_matcher_ignore_the_name(null):
    assert null.request("/match", {"pairs": [["1", "x"]], "model": "rerank-v3.5"}).status == 200


def test_models_and_info_list_all_names(server):
    ids = [row["id"] for row in server.request("/v1/models", **BEARER).json["data"]]
    assert ids == ["live", "test", "faq-v1", "faq-v2"]
    info = server.request("/info", **BEARER).json
    assert info["model_id"] == "faq-v1"
    assert info["aliases"]["test"] == {"faq-v1": 90, "faq-v2": 10}
    assert info["models"]["faq-v2"]["model_sha"] == "faq-v2-1"
    metrics = server.request("/metrics", **BEARER).text
    assert 'flipkd_pairs_waiting{matcher="faq-v2"} 0.0' in metrics
    assert 'flipkd_matcher_version{matcher="faq-v1",version="faq-v1-1"} 1.0' in metrics
    assert 'flipkd_decisions_total{decision="match",matcher="faq-v2"}' in metrics


def test_shares_are_sticky_by_client_and_chosen_by_header_or_user(server):
    def name(**how):
        body = {"model": "test"} | ({"user": how["user"]} if "user" in how else {})
        return requested(server, body=body, **{k: v for k, v in how.items() if k != "user"}).headers["x-model"]

    by_header = [name(x_client_id=f"client-{number}") for number in range(60)]
    assert by_header == [name(user=f"client-{number}") for number in range(60)]
    assert 0 < by_header.count("faq-v2") < 20
    embedded = server.request("/v1/embeddings", {"input": "a", "user": "client-1", "model": "test"}, **BEARER)
    assert embedded.headers["x-model"] == by_header[1]


@pytest.mark.scenario("S12")
def test_a_thread_that_dies_is_replaced_and_its_requests_get_503(tmp_path):
    with server_of(tmp_path, "faq", "help", timeout=20) as server, ThreadPoolExecutor(9) as threads:
        write_version(tmp_path / "faq.json", "faq-2", offset=5000, loading=1.0)
        requested(server, body={"pairs": [["die", "x"]], "model": "faq"})
        time.sleep(0.8)  # the thread dies when its next call comes
        began = time.monotonic()
        lost = [threads.submit(requested, server, body={"model": "faq"}) for _ in range(8)]
        assert {reply.result().status for reply in lost} == {503}
        assert time.monotonic() - began < 5, "nobody waits for the timeout"
        assert server.request("/readyz").status == 503
        assert requested(server, body={"model": "help"}).status == 200, "the other matcher goes on"
        server.until_ready()
        assert requested(server, body={"model": "faq"}).json["revision"] == "faq-2", "what the folder holds now"
        log = server.stopped()
    assert "faq is loaded again: the model's thread has died" in log


def test_a_thread_that_dies_again_and_again_ends_the_server(tmp_path):
    with server_of(tmp_path, "faq") as server:
        write_version(tmp_path / "faq.json", "faq-2", dies="always")
        requested(server, body={"pairs": [["die", "x"]]})
        deadline = time.monotonic() + 60
        while server.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # of the last one
                requested(server)
            time.sleep(0.1)
        assert server.process.wait(10) == 1


@pytest.mark.scenario("S8")
@pytest.mark.parametrize("how", ["timeout", "hang up"])
def test_server_stops_a_pass_that_nobody_waits_for_between_batches(how):
    async def abandon(clients):
        body = {"pairs": [["slow", "x"]] * 20}  # ten seconds
        if how == "hang up":
            await clients[0].send("/match", body)
            await asyncio.sleep(0.8)
            clients[0].close()
        else:
            assert (await clients[0].request("/match", body)).status == 504
        began = time.monotonic()
        while (await clients[1].request("/match", {"pairs": [["1", "x"]]})).status != 200:
            pass
        return time.monotonic() - began

    with null_server(batch_size=64, timeout=1.0) as server:
        server.until_ready()
        assert with_clients(server, 2, abandon) < 3


def test_models_refuse_aliases_and_a_default_that_do_not_exist():
    for plan in (Plan({}, {"live": "a"}), Plan({}, default="a")):
        with pytest.raises(UsageError, match="no matcher"):
            Models(lambda plan=plan: plan, limits=Limits())
