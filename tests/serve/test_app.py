"""Health checks and the web page, also in a browser."""

import html
import re
import shutil
import subprocess
from urllib.parse import urlencode

import pytest


@pytest.mark.scenario("X8")
def test_web_page_loads_nothing_from_other_sites(null):
    page = null.request("/")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    assert null.request("/page.js").status == null.request("/page.css").status == 200


@pytest.mark.scenario("X8")
def test_web_page_script_never_inserts_texts_as_html(null):
    script = null.request("/page.js").text
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
    """Return the page of a link as headless Chromium has it after its scripts ran."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", f"--user-data-dir={folder}"]
    address = "http://{}:{}/?{}".format(*server.address, link)
    command = ["chromium", *flags, "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.scenario("X8")
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
def test_web_page_compares_texts_of_a_link_and_runs_no_markup(null, tmp_path):
    hostile = "<img src=x onerror=document.title='owned'>"
    link = urlencode({"text": "150", "candidate": ["fits", hostile]}, doseq=True)
    page = browsed(null, link, tmp_path)
    cells = re.findall(r"<td>(.*?)</td>", page)
    assert cells == ["fits", "1.000", "150.00", "match", html.escape(hostile, quote=False), "1.000", "150.00", "match"]
    assert "null, from a score of 100 on it is a match" in page
    assert "<title>flipkd: try it</title>" in page


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
def test_web_page_searches_the_index(null, tmp_path):
    page = browsed(null, urlencode({"text": "12"}), tmp_path)
    assert re.findall(r"<td>(.*?)</td>", page)[:5] == ["2", "1.000", "12.00", "no match", "0"]
    assert '<button type="button" id="search">' in page


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health", "/"])
def test_head_requests_get_an_empty_response(null, path):
    answer = null.request(path, method="HEAD")
    assert (answer.status, answer.text) == (200, "")
