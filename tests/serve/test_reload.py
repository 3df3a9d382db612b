"""Reload: a new version replaces the old one under load, and a damaged one does not."""

import asyncio
import gc
import signal
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from served_versions import BEARER, KEY, server_of, write_version
from servers import sent_raw

from flipkd.errors import ArtefactError
from flipkd.matcher import Matcher
from flipkd.serve.limits import Limits
from flipkd.serve.loaded import Loaded
from flipkd.serve.models import Found, Models, Plan
from flipkd.serve.reload import ReloadFailed, reload

PAIRS = {"pairs": [[str(number), "wait 0.002"] for number in range(20)]}


def answered(server):
    """Send one request; return its version, and the only offset of all its scores."""
    reply = server.request("/match", PAIRS, **BEARER)
    assert reply.status == 200, reply
    [offset] = {row["score"] - number for number, row in enumerate(reply.json["results"])}
    assert reply.headers["x-model-version"] == reply.json["revision"]
    return reply.json["revision"], offset


@pytest.mark.scenario("S11", "L10")
def test_reload_under_load_fails_no_request_and_mixes_no_versions(tmp_path):
    with server_of(tmp_path, "faq", batch_size=4) as server, ThreadPoolExecutor(3) as threads:
        stop, seen = False, [("faq-1", 1000)]

        def keep_sending(_):
            while not stop:
                seen.append(answered(server))  # raises for any status but 200

        senders = [threads.submit(keep_sending, number) for number in range(3)]
        for number in range(2, 8):
            write_version(tmp_path / "faq.json", f"faq-{number}", offset=1000 * number, loading=0.05)
            if number % 2:
                reply = server.request("/admin/reload", {}, **BEARER)
                assert reply.status == 200, reply
                [row] = reply.json["results"]
                assert (row["model"], row["before"], row["after"]) == ("faq", f"faq-{number - 1}", f"faq-{number}")
            else:
                server.process.send_signal(signal.SIGHUP)
            while seen[-1][0] != f"faq-{number}":
                time.sleep(0.005)
        stop = True
        for sender in senders:
            sender.result()
        log = server.stopped()
    assert dict(seen) == {f"faq-{number}": 1000 * number for number in range(1, 8)}, (
        "each version answered, with its own scores"
    )
    assert "faq: version faq-7 replaces faq-6" in log


@pytest.mark.scenario("S11")
@pytest.mark.parametrize("way", ["signal", "request"])
def test_reload_of_a_damaged_version_leaves_the_old_one_serving(tmp_path, way):
    with server_of(tmp_path, "faq") as server:
        write_version(tmp_path / "faq.json", "faq-2", broken=True)
        if way == "request":
            reply = server.request("/admin/reload", {}, **BEARER)
            assert reply.status == 424
            assert "version faq-1 keeps serving" in reply.json["detail"]
            assert str(tmp_path) not in reply.text
        else:
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
        assert server.request("/readyz").status == 200
        assert answered(server) == ("faq-1", 1000)
        log = server.stopped()
    assert "reload of faq failed, version faq-1 keeps serving: ArtefactError" in log


@pytest.mark.scenario("S11")
def test_a_second_reload_is_refused_and_a_client_that_hangs_up_stops_none(tmp_path):
    with server_of(tmp_path, "faq") as server:
        write_version(tmp_path / "faq.json", "faq-2", offset=2000, loading=1.0)
        head = f"POST /admin/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
        body = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        with pytest.raises(TimeoutError):
            sent_raw(server, (head + body).encode(), timeout=0.3)
        assert server.request("/admin/reload", {}, **BEARER).status == 409
        assert answered(server) == ("faq-1", 1000)
        deadline = time.monotonic() + 10
        while answered(server)[0] != "faq-2":
            assert time.monotonic() < deadline


def test_reload_lets_a_request_in_progress_finish_on_its_version(tmp_path):
    with server_of(tmp_path, "faq", batch_size=1) as server, ThreadPoolExecutor(1) as threads:
        slow = threads.submit(server.request, "/match", {"pairs": [["slow", "x"]] * 4}, **BEARER)
        time.sleep(0.3)
        write_version(tmp_path / "faq.json", "faq-2", offset=2000)
        assert server.request("/admin/reload", {}, **BEARER).status == 200
        assert answered(server) == ("faq-2", 2000)
        assert not slow.done(), "the new version answers beside it"
        assert slow.result().json["revision"] == "faq-1"
        assert {row["score"] for row in slow.result().json["results"]} == {1000}


def test_reload_without_a_change_loads_nothing(tmp_path):
    with server_of(tmp_path, "faq", "help") as server:
        rows = server.request("/admin/reload", {}, **BEARER).json["results"]
        assert [(row["model"], row["before"], row["after"]) for row in rows] == [
            ("faq", "faq-1", "faq-1"),
            ("help", "help-1", "help-1"),
        ]
        write_version(tmp_path / "faq.json", "faq-2")
        write_version(tmp_path / "help.json", "help-2")
        [row] = server.request("/admin/reload", {"model": "help"}, **BEARER).json["results"]
        assert row["after"] == "help-2"
        assert server.request("/info", **BEARER).json["models"]["faq"]["model_sha"] == "faq-1"
        assert server.request("/admin/reload", {"model": "nobody"}, **BEARER).status == 404


def test_reload_frees_the_old_weights(make_student):
    async def swap():
        models = Models(lambda: Plan({"faq": find}), limits=Limits())
        await models.start()
        await models.until_loaded()
        service = models.services["faq"]
        await service.match([("a", "b")], until=service.deadline())
        gc.disable()
        del service
        [row] = await reload(models)
        assert (row.before, row.after) == ("1", "2")
        await asyncio.sleep(0.2)
        left = [reference() is not None for reference in students]
        gc.enable()
        await models.stop()
        return left

    def find():
        number = len(students) + 1

        def load():
            student, contract = make_student()
            students.append(weakref.ref(next(student.parameters())))
            return Loaded(Matcher(student, contract, fingerprint=str(number)))

        return Found(str(number), load)

    students = []
    assert asyncio.run(swap()) == [False, True]


def test_reload_of_one_matcher_also_loads_new_ones_whose_aliases_come_with_it(make_student):
    async def serve():
        models = Models(lambda: plans[0], limits=Limits())
        await models.start()
        await models.until_loaded()
        plans[0] = Plan({"faq": find, "help": find}, {"live": "help"})
        rows = await reload(models, only="faq")
        service, alias = models.choose("live", client=None)
        name, state = service.name, service.state
        await models.stop()
        return [(row.model, row.before, row.after) for row in rows], (name, alias, state)

    def find():
        return Found("1", lambda: Loaded(Matcher(*make_student(), fingerprint="1")))

    plans = [Plan({"faq": find})]
    assert asyncio.run(serve()) == ([("faq", "1", "1"), ("help", None, "1")], ("help", "live", "ready"))


def test_a_matcher_that_dies_during_its_reload_does_not_end_the_server(make_student):
    """Its replacement is still loading when the reload swaps in the new version, and is stopped unloaded."""

    async def serve():
        models = Models(lambda: Plan({"faq": find}), limits=Limits())
        gates["first"].set()
        await models.start()
        await models.until_loaded()
        reloading = asyncio.create_task(reload(models))
        while len(started) < 2:
            await asyncio.sleep(0.01)
        models.services["faq"]._fail(RuntimeError("dead"))
        while len(started) < 3:
            await asyncio.sleep(0.01)
        gates["reload"].set()
        [row] = await reloading
        await asyncio.sleep(0.3)
        found = row.after, models.services["faq"].version, models.state, models.finished.is_set()
        gates["restart"].set()
        await models.stop()
        return found

    def find():
        def load():
            name = ("first", "reload", "restart")[len(started)]
            started.append(name)
            assert gates[name].wait(20)
            if name == "restart":  # of which nobody waits for the end: it must not build a model beside the next test
                raise ArtefactError("stopped")
            return Loaded(Matcher(*make_student(), fingerprint=version))

        version = str(len(started) + 1)
        return Found(version, load)

    started, gates = [], {name: threading.Event() for name in ("first", "reload", "restart")}
    assert asyncio.run(serve()) == ("2", "2", "ready", False)


def test_a_matcher_that_a_failed_reload_has_swapped_in_is_loaded_again_from_its_new_place(make_student):
    async def serve():
        models = Models(lambda: plans[0], limits=Limits())
        await models.start()
        await models.until_loaded()
        plans[0] = Plan({"faq": find("2"), "help": find("2"), "bad": find(None)})
        with pytest.raises(ReloadFailed):
            await reload(models)
        for service in list(models.services.values()):
            service._fail(RuntimeError("dead"))
        await asyncio.sleep(0)
        await models.until_loaded()
        found = {name: service.version for name, service in models.services.items()}
        await models.stop()
        return found

    def find(version):
        def load():
            if version is None:
                raise ArtefactError("bad")
            return Loaded(Matcher(*make_student(), fingerprint=version))

        return lambda: Found(str(version), load)

    plans = [Plan({"faq": find("1")})]
    assert asyncio.run(serve()) == {"faq": "2", "help": "2"}
