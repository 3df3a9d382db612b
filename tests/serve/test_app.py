"""Health and the page to try it by hand, also in a browser."""

import html
import re
import shutil
import subprocess
from urllib.parse import urlencode

import pytest


@pytest.mark.scenario("X8")
def test_the_page_brings_nothing_from_elsewhere(null):
    page = null.ask("/")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    assert null.ask("/page.js").status == null.ask("/page.css").status == 200


@pytest.mark.scenario("X8")
def test_the_script_of_the_page_makes_no_markup_of_texts(null):
    script = null.ask("/page.js").text
    assert "textContent" in script
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        'setAttribute("on',
    ):
        assert way not in script


def browsed(server, link, folder):
    """The page as headless Chromium has it after its scripts have run."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", f"--user-data-dir={folder}"]
    address = "http://{}:{}/?{}".format(*server.address, link)
    words = ["chromium", *flags, "--dump-dom", address]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.scenario("X8")
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
def test_a_browser_compares_what_the_link_names_and_runs_none_of_it(null, tmp_path):
    hostile = "<img src=x onerror=document.title='owned'>"
    link = urlencode({"text": "150", "candidate": ["fits", hostile]}, doseq=True)
    page = browsed(null, link, tmp_path)
    cells = re.findall(r"<td>(.*?)</td>", page)
    assert cells == ["fits", "1.000", "150.00", "match", html.escape(hostile, quote=False), "1.000", "150.00", "match"]
    assert "null, from a score of 100 on it is a match" in page
    assert "<title>flipkd: try it</title>" in page


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
def test_a_browser_searches_where_there_is_an_index(null, tmp_path):
    page = browsed(null, urlencode({"text": "12"}), tmp_path)
    assert re.findall(r"<td>(.*?)</td>", page)[:5] == ["2", "1.000", "12.00", "no match", "0"]
    assert '<button type="button" id="search">' in page


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health", "/"])
def test_monitors_may_ask_for_the_head_alone(null, path):
    answer = null.ask(path, method="HEAD")
    assert (answer.status, answer.text) == (200, "")
