"""Health and the page to try it by hand, also in a browser."""

import html
import re
import shutil
import subprocess
from urllib.parse import urlencode

import pytest


def test_the_page_brings_nothing_from_elsewhere(null):
    page = null.ask("/")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    assert null.ask("/page.js").status == null.ask("/page.css").status == 200


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
def test_a_browser_compares_what_the_link_names_and_runs_none_of_it(null, tmp_path):
    hostile = "<img src=x onerror=document.title='owned'>"
    link = urlencode({"text": "150", "candidate": ["fits", hostile]}, doseq=True)
    address = "http://{}:{}".format(*null.address)
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=8000",
        f"--user-data-dir={tmp_path}",
    ]
    done = subprocess.run(
        ["chromium", *flags, "--dump-dom", f"{address}/?{link}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    cells = re.findall(r"<td>(.*?)</td>", done.stdout)
    assert cells == ["fits", "1.000", "150.00", "match", html.escape(hostile, quote=False), "1.000", "150.00", "match"]
    assert "null, from a score of 100 on it is a match" in done.stdout
    assert "<title>flipkd: try it</title>" in done.stdout


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health", "/"])
def test_monitors_may_ask_for_the_head_alone(null, path):
    answer = null.ask(path, method="HEAD")
    assert (answer.status, answer.text) == (200, "")
