"""Report page: its content by input, escaping of texts, one file, drawn by a browser."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

pytest.importorskip("altair")
pytest.importorskip("jinja2")
pytest.importorskip("vl_convert")

from browser import CHROMIUM, NO_CHROMIUM

from flipkd.errors import ConfigError
from flipkd.report.page import render

CHARTS = 9 + 7  # of a full page, and the losses of the seven systems with a colour of their own
HOSTILE = [
    "<script>document.title = 'owned'</script>",
    '"><img src=x onerror="document.title = \'owned\'">',
    "</script></title></style><!--<script>",
    "' onmouseover=alert(1) x='",
    "{{ 7 * 7 }}{% raw %}&lt;b&gt;<b>",
    "\x00\x1b[31mred\x1b[0m\u202egnp.exe\u2066\u200f\ud800",
]


class Elements(HTMLParser):
    """Every element with the names of its attributes; the text; the scripts by kind; what links and loads."""

    def __init__(self, page):
        super().__init__()
        self.shape, self.words, self.scripts, self.policy, self.addresses = [], [], [], "", []
        self.open = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.shape.append((tag, tuple(sorted(values))))
        self.open = tag
        self.words += [" "] * (tag in ("td", "th", "tr", "p"))
        if tag == "script":
            self.scripts.append([values.get("type"), ""])
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        self.addresses += [values[name] for name in ("src", "href", "action", "data", "srcset") if name in values]

    def handle_endtag(self, tag):
        self.open = None

    def handle_data(self, data):
        if self.open == "script":
            self.scripts[-1][1] += data
        elif self.open != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


@pytest.fixture
def hostile(make_comparison):
    """The comparison of `tame` with every text that comes from outside replaced by a hostile one."""
    comparison = make_comparison(seeds=(0, 1), n=120)
    names = {name: HOSTILE[place % 6] + str(place) for place, name in enumerate(comparison.names)}
    versions = {HOSTILE[3]: HOSTILE[0]}
    changes = {"overrides": {HOSTILE[1]: HOSTILE[4]}, "matcher": HOSTILE[1]}
    losses = [{"step": step, "objective": HOSTILE[0], "value": 1.0} for step in (1, 2)]
    runs = [
        dataclasses.replace(
            run, name=names[run.name], losses=losses, result={**run.result, **changes, "versions": versions}
        )
        for run in comparison.runs
    ]
    texts = [HOSTILE[row % 6] + text for row, text in enumerate(comparison.text1)]
    counts = {
        HOSTILE[1]: {"pairs": 3, "positives": 1},
        "b": {"pairs": 0, "positives": 0},
        "c": {"pairs": 1, "positives": 1},
    }
    return dataclasses.replace(
        comparison, data=HOSTILE[0], runs=runs, text1=texts, text2=texts[::-1], counts=counts, command=HOSTILE[2]
    )


def tamed(comparison):
    """The same numbers under names and texts without a special character, each as long as before."""
    letters = {name: chr(ord("a") + place) for place, name in enumerate(comparison.names)}
    runs = [
        dataclasses.replace(
            run,
            name=letters[run.name],
            result={**run.result, "versions": {"v": "1"}, "overrides": {"o": 1}, "matcher": "m"},
        )
        for run in comparison.runs
    ]
    plain = [re.sub("[^a-z]", "_", text) for text in comparison.text1]
    counts = dict(zip("abc", comparison.counts.values(), strict=True))
    return dataclasses.replace(
        comparison, data="d", runs=runs, text1=plain, text2=plain[::-1], counts=counts, command="c"
    )


@pytest.mark.slow
@pytest.mark.scenario("X8")
def test_render_escapes_hostile_texts(hostile):
    page = render(hostile)
    expected, found = Elements(render(tamed(hostile))), Elements(page)
    assert found.shape == expected.shape
    assert [kind for kind, _ in found.scripts] == [kind for kind, _ in expected.scripts]
    assert HOSTILE[0] in found.text
    assert "{{ 7 * 7 }}" in found.text
    assert "\\u0000\\u001b[31mred\\u001b[0m\\u202egnp.exe\\u2066\\u200f\\ud800" in found.text
    assert not set("\x00\x1b\u202e\u2066\u200f") & set(page)
    page.encode("utf-8")


@pytest.mark.scenario("X8")
def test_render_allows_two_scripts_and_no_network(make_comparison):
    found = Elements(render(make_comparison()))
    running = [text for kind, text in found.scripts if kind is None]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running]
    assert len(running) == 2
    sources = " ".join(f"'sha256-{digest}'" for digest in digests)
    assert f"script-src {sources};" in found.policy
    assert found.policy.startswith("default-src 'none';")
    assert "eval" not in found.policy
    assert all(address.startswith(("#", "./")) for address in found.addresses)
    assert {kind for kind, _ in found.scripts} == {None, "application/json"}
    values = [json.loads(text) for kind, text in found.scripts if kind]
    assert [value for value in values if "vega-lite" not in value.get("$schema", "")] == [values[2]]
    assert set(values[2]) == {"pairs", "matches", "systems", "shown"}


def test_render_links_to_existing_sections(make_comparison):
    for systems in (["tfidf"], ["plain", "flipped"]):
        page = render(make_comparison(systems))
        for address in Elements(page).addresses:
            assert f'id="{address[1:]}"' in page


def test_link_is_relative_to_the_page(make_comparison):
    comparison = make_comparison(["plain"], seeds=(0, 1))
    for folder, address in (
        ("runs/plain-1/matcher", "./runs/plain-1/matcher"),
        ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
        ('"><b>', "./%22%3E%3Cb%3E"),
    ):
        runs = [dataclasses.replace(run, result={**run.result, "matcher": folder}) for run in comparison.runs]
        found = [a for a in Elements(render(dataclasses.replace(comparison, runs=runs))).addresses if a[0] != "#"]
        assert found == [address] * 3, "two seeds, and the row of results"


def test_render_of_a_full_comparison(make_comparison):
    comparison = make_comparison(n=120)
    text = Elements(render(comparison)).text
    assert "Which system matches texts best on faq?" in text
    assert re.search(
        r"flipped against verdict F1, points AP, points ahead in plainthe same language model .* better "
        r"\+\d+\.\d\+\d+\.\d to \+\d+\.\d \S+ to \S+ 2 of 2 seeds teacher_finetuned",
        text,
    )
    assert "cosine ✓ chosen in 2 of 2" in text
    assert "Spearman’s rank correlation" in text
    assert "teacher_finetuned flipped" in text
    assert comparison.command in text
    assert "torch 2.13" in text
    assert "undefined" not in text.lower()


def test_render_omits_missing_sections(make_comparison):
    text = Elements(render(make_comparison(["tfidf", "plain"], seeds=(0,)))).text
    assert "one seed only" in text
    for words in (
        "flipped student",
        "Spearman",
        "Who is right",
        "±",
        "Not finished",
        "runs with different seeds",
        "✓ chosen",
    ):
        assert words not in text
    assert "Against plain" in text
    assert "always match 0.667 0.500 0.500 0.500" in text
    bare = make_comparison(["tfidf"], seeds=(0,))
    result = {key: bare.runs[0].result[key] for key in ("score", "by_score")}  # no cost, versions, seconds, memory
    bare = dataclasses.replace(bare, runs=[dataclasses.replace(bare.runs[0], result=result)])
    text = Elements(render(bare)).text
    assert "Differences" not in text
    assert "tfidf – – – –" in text


def test_render_of_an_unfinished_comparison_counts_runs(make_comparison):
    comparison = dataclasses.replace(make_comparison(["tfidf", "plain"], seeds=(0,)), planned=5)
    assert "Not finished: 2 of 5 runs." in Elements(render(comparison)).text


def test_render_explains_plus_minus(make_comparison):
    text = Elements(render(make_comparison(["plain"], seeds=(0, 1), n=20))).text
    found = re.findall(r"(\d\.\d{3}) ± (\d+\.\d{3})(\d\.\d{3}) to (\d\.\d{3})", text)
    assert found
    for mean, half, low, high in (map(float, group) for group in found):
        assert low == pytest.approx(max(mean - half, 0), abs=0.002)
        assert high == pytest.approx(min(mean + half, 1), abs=0.002)


@pytest.mark.slow
def test_render_is_deterministic_and_small(make_comparison):
    systems = ["teacher_finetuned", "flipped"]
    page = render(make_comparison(systems, n=2000, seeds=(0,)))
    assert page == render(make_comparison(systems, n=2000, seeds=(0,)))
    assert len(page.encode()) < 3_000_000


def test_render_names_the_missing_package(make_comparison, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(ConfigError, match=r'the report needs vl_convert, which .*pip install "flipkd\[report\]"'):
        render(make_comparison(["plain"]))


def browsed(page, folder):
    """The page as headless Chromium has it after its scripts have run, and what the console was told."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--enable-logging=stderr"]
    words += [f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run([CHROMIUM, *words], capture_output=True, timeout=100, check=True)
    message = [line for line in done.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line]
    return done.stdout.decode(), message


@pytest.mark.scenario("X8")
@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_render_makes_a_page_whose_charts_a_browser_draws_without_running_hostile_text(hostile, tmp_path):
    page = render(hostile)
    dom, message = browsed(page, tmp_path)
    assert re.findall(r'data-drawn="(\w+)"', dom) == ["yes"] * CHARTS
    assert len(re.findall(r'<div class="chart[^>]*>(?:<div[^>]*>)?<svg', dom)) == CHARTS
    assert message == []  # no warning of a chart, no error, nothing that the policy had to refuse
    before, after = ([tag for tag, _ in Elements(html).shape] for html in (page, dom))
    assert "img" not in after
    assert re.search(r'data-figure="precision">0\.\d{3}<', dom), "the explorer has started"
    assert re.search(r'id="pairs-count"[^>]*>(\d+) of \1 pairs<', dom), "and so has the table of pairs"
    assert before.count("script") == after.count("script")
    assert "<title>&lt;script&gt;" in dom


@pytest.mark.scenario("X8")
@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_render_makes_a_page_in_which_a_browser_refuses_another_script(make_comparison, tmp_path):
    page = render(make_comparison(["plain"], seeds=(0,)))
    dom, message = browsed(page.replace("<main>", f"<main>{HOSTILE[0]}"), tmp_path)
    assert "<title>owned" not in dom
    assert len(message) == 1
    assert "Content Security Policy" in message[0]


USER = """<script>
const move = (name, value) => {
  const input = document.getElementById(name);
  input.value = value;
  input.dispatchEvent(new Event("input"));
};
const figure = (name) => document.querySelector(`[data-figure="${name}"]`).textContent;
const shown = () => [...document.getElementById("pairs").tBodies[0].rows].filter((row) => !row.hidden);
const did = {};
move("explorer-match", 0);
did.all = ["precision", "recall", "review", "found", "missed"].map(figure);
move("explorer-match", document.getElementById("explorer-match").max);
did.none = ["precision", "recall", "review", "accuracy"].map(figure);
document.querySelectorAll("#pairs button")[3].click();
did.rising = shown().map((row) => Number(row.cells[3].dataset.value));
document.querySelectorAll("#pairs button")[3].click();
did.falling = shown().map((row) => Number(row.cells[3].dataset.value));
const choice = document.getElementById("pairs-show");
choice.value = "1";
choice.dispatchEvent(new Event("change"));
did.wrong = shown().map((row) => row.dataset.wrong);
move("pairs-find", "QUESTION 1");
did.found = shown().map((row) => row.cells[0].textContent + " " + row.cells[1].textContent);
document.body.dataset.did = JSON.stringify(did);
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_render_makes_a_page_in_which_a_browser_moves_thresholds_and_sorts_and_filters_pairs(
    make_comparison, tmp_path
):
    page = render(make_comparison(["teacher_finetuned", "plain"], seeds=(0,), n=100))
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    page = USER.join(page.rsplit("</body>", 1))  # Vega holds the word too
    dom, message = browsed(page, tmp_path)
    assert message == []
    did = json.loads(html.unescape(re.search(r'data-did="([^"]*)"', dom)[1]))
    assert did["all"] == ["0.500", "1.000", "0.000", "50", "0"]
    assert did["none"] == ["–", "0.000", "1.000", "–"], "the lower threshold stays, so all go to review"
    assert did["rising"] == sorted(did["rising"])
    assert did["falling"] == did["rising"][::-1]
    assert did["wrong"]
    assert all("1" in wrong.split() for wrong in did["wrong"])
    assert did["found"]
    assert all("question 1" in text for text in did["found"])
