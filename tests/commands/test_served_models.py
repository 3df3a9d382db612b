"""`flipkd serve --models` with real matchers: links that move, damaged folders, and settings that do not fit."""

import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from command_line import flipkd
from servers import running
from tiny_matchers import write_matcher

from flipkd.command_config import ServeConfig
from flipkd.commands.served_models import read_plan
from flipkd.files import MANIFEST, sha256
from flipkd.matcher import Matcher

PAIRS = [
    ("how do I reset my card pin", "can I change the pin of my card"),
    ("where is my transfer", "close my account"),
]
BEARER = {"authorization": "Bearer 0123456789abcdef"}


def point(link, target):
    """Let a link lead to another folder, at once."""
    link.with_name("new").symlink_to(target)
    os.replace(link.with_name("new"), link)


@pytest.fixture
def folders(make_student, tmp_path):
    for name, weight in (("a", 1.0), ("b", 0.5)):
        write_matcher(make_student, tmp_path / name, "llama", "joint", score={"answer": weight})
    shutil.copytree(tmp_path / "b", tmp_path / "damaged")
    weights = next((tmp_path / "damaged").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (tmp_path / "damaged" / MANIFEST).write_text((tmp_path / "damaged" / MANIFEST).read_text() + "\n")
    (tmp_path / "key").write_text("0123456789abcdef\n")
    return tmp_path


@pytest.mark.scenario("S11", "A8")
def test_a_link_that_moves_is_followed_and_a_damaged_folder_is_not(folders):
    expected = {name: Matcher.from_pretrained(folders / name).predict(PAIRS).tolist() for name in ("a", "b")}
    versions = {sha256(folders / name / MANIFEST)[:12]: name for name in ("a", "b")}
    assert abs(expected["a"][0] - expected["b"][0]) > 1e-3
    link, settings = folders / "current", folders / "models.yaml"
    link.symlink_to("a")
    settings.write_text(f"matchers: {{faq: {link}}}\naliases: {{live: faq}}\n")
    words = ("serve", "--port", 0, "--models", settings, "--api_key_file", folders / "key")
    with running(sys.executable, "-m", "flipkd", *words, first_line_on="stderr") as server:
        server.until_ready()
        stop, seen = False, []

        def keep_sending():
            while not stop:
                reply = server.request("/match", {"pairs": PAIRS, "model": "live"}, **BEARER)
                assert reply.status == 200, reply
                name = versions[reply.json["revision"]]
                assert [row["score"] for row in reply.json["results"]] == pytest.approx(expected[name], abs=1e-5)
                seen.append(name)

        def until(name):
            deadline = time.monotonic() + 60
            while name not in seen[-1:]:
                assert time.monotonic() < deadline
                time.sleep(0.01)

        with ThreadPoolExecutor(1) as threads:
            sender = threads.submit(keep_sending)
            until("a")
            point(link, "b")
            server.process.send_signal(signal.SIGHUP)
            until("b")
            point(link, "damaged")
            assert server.request("/admin/reload", {}, **BEARER).status == 424
            point(link, "nowhere")
            assert server.request("/admin/reload", {}, **BEARER).status == 424
            settings.write_text("matchers: {faq: [")
            assert server.request("/admin/reload", {}, **BEARER).status == 424
            settings.write_text(f"matchers: {{old: {folders / 'a'}, faq: {folders / 'b'}}}\naliases: {{live: old}}\n")
            rows = server.request("/admin/reload", {}, **BEARER).json["results"]
            assert [(row["model"], row["before"] is None, row["before"] == row["after"]) for row in rows] == [
                ("old", True, False),
                ("faq", False, True),
            ]
            until("a")
            stop = True
            sender.result()
        assert seen == sorted(seen[: seen.index("b")]) + ["b"] * seen.count("b") + ["a"] * (
            len(seen) - seen.index("b") - seen.count("b")
        ), "never back to an earlier version"
        log = server.stopped()
    assert log.count("version") >= 4
    assert "keeps serving: ArtefactError" in log
    assert "everything stays as it was: ConfigError" in log


def test_the_name_of_the_only_matcher_stays_when_its_link_leads_elsewhere(folders):
    (folders / "run").mkdir()
    (folders / "run" / "matcher").symlink_to(folders / "a")
    for link, target in ((folders / "current", "a"), (folders / "run" / "matcher", folders / "a")):
        point(link, target)
        config = ServeConfig(matcher=str(link))
        [(name, find)] = read_plan(config, index=None).find.items()
        before = find().version
        point(link, folders / "b")
        [(after, find)] = read_plan(config, index=None).find.items()
        assert name == after == {"current": "current", "matcher": "run"}[link.name]
        assert find().version != before
    assert list(read_plan(ServeConfig(matcher=str(folders / "a")), index=None).find) == ["a"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give one of --matcher, --matchers and --models"),
        (("--matcher", "x", "--matchers", "a=x"), "got --matcher and --matchers"),
        (("--matcher", "x", "--aliases", "live=a"), "--aliases and --default need several matchers"),
        (("--matchers", "a=x", "--aliases", "live=b"), "no matcher is called 'b'"),
        (("--matchers", "a=x", "--default", "b"), "no matcher or alias is called 'b'"),
        (("--models", "missing.yaml"), "missing.yaml: no such file"),
        (("--models", "wrong.yaml"), "wrong.yaml: matchers is missing"),
        (("--matchers", "a=missing"), "missing: no such folder"),
        (("--matchers", "a=x", "--trusted_proxies", "10.0.0.1/8"), "'10.0.0.1/8' is not a network"),
    ],
)
def test_serve_refuses_settings_that_do_not_fit(tmp_path, words, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text("aliases: {live: a}")
    done = flipkd("serve", "--port", 0, *words)
    assert done.code in (2, 4)
    assert message in done.err
