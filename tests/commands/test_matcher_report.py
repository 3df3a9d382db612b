"""evaluate --report: the report of one matcher, with its metrics and a link to it."""

from __future__ import annotations

import json
import re

from command_line import flipkd


def test_the_report_is_a_page_about_the_matcher(trained, pair_files, tmp_path):
    page = tmp_path / "new" / "page.html"
    arguments = ("evaluate", "--matcher", trained, "--test_file", pair_files["test"])
    done = flipkd(*arguments, "--json", "--report", page)
    assert done.code == 0, done.err
    text, f1 = page.read_text(encoding="utf-8"), json.loads(done.out)["f1"]
    assert "<h1>How well does <bdi>run</bdi> match texts on <bdi>test</bdi>?</h1>" in text
    assert f"<bdi>run</bdi> {f1:.3f}." in text
    assert "The matcher in" in text
    assert 'id="training"' in text, "its run left metrics.jsonl"
    assert not {"differences", "cost"} & set(re.findall(r'<section id="(\w+)"', text))
    (link,) = set(re.findall(r'href="(\./[^"]*)"', text))
    assert (page.parent / link / "matcher.json").exists()
