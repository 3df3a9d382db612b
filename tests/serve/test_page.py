"""Web page: its files need no key, what it shows of the model, its colours, and its use in a browser."""

import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

import pytest
from browser import CHROMIUM, NO_CHROMIUM, browser
from servers import null_server

KEY = "k" * 32
FOLDER = Path(__file__).parents[2] / "src" / "flipkd" / "serve"
in_browser = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
FILES = ("/", "/access.js", "/page.js", "/page.css")
TEXTS = "[...document.querySelectorAll('#results > li')].map((item) => item.innerText.replace(/\\s+/g, ' ').trim())"
NARROW = 400  # pixels


@pytest.fixture(scope="module")
def locked():
    """Start a server with a key, from which pages of one other origin may ask, and which keeps columns in its index."""
    with elsewhere() as other, null_server(api_key=KEY, cors_origins=[other], review=50.0, kept=True) as server:
        server.other = other
        yield server.until_ready()


@pytest.fixture(scope="module")
def page():
    with browser() as page:
        yield page


def address(server, link=""):
    return "http://{}:{}/{}".format(*server.address, link)


class _Blank(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another site</title>")

    def log_message(self, *_):
        pass


class elsewhere:
    """Context manager: a web site of its own; gives its origin."""

    def __enter__(self):
        self.site = ThreadingHTTPServer(("127.0.0.1", 0), _Blank)
        Thread(target=self.site.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.site.server_port}"

    def __exit__(self, *_):
        self.site.shutdown()
        self.site.server_close()


@pytest.mark.scenario("X8")
def test_page_loads_nothing_from_other_sites(null):
    found = null.request("/")
    assert found.status == 200
    for rule in ("default-src 'none'", "form-action 'none'", "frame-ancestors 'none'"):
        assert rule in found.headers["content-security-policy"]
    assert "http" not in found.text
    assert {null.request(path).status for path in FILES} == {200}


@pytest.mark.scenario("X8")
def test_page_script_never_inserts_texts_as_html(null):
    script = null.request("/access.js").text + null.request("/page.js").text
    assert "textContent" in script
    ways = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", 'setAttribute("on')
    assert not [way for way in ways if way in script]


@pytest.mark.scenario("X10")
def test_files_of_the_page_need_no_key_and_all_else_does(locked):
    for path, method in product(FILES, ("GET", "HEAD")):
        assert locked.request(path, method=method).status == 200
    assert KEY not in locked.request("/page.js").text
    for path in ("/page.json", "/page.html", "/page", "//", "/openapi.json"):
        assert locked.request(path).status == 401
    for path in FILES:
        assert locked.request(path, {}).status == 401


def test_page_json_explains_the_bounds_and_takes_examples_from_the_index(locked, null):
    found = locked.request("/page.json", authorization=f"Bearer {KEY}").json
    assert found["match"] == {"score": 100.0, "probability": pytest.approx(1.0)}
    assert found["review"]["score"] == 50.0
    assert (found["index_size"], found["examples"]) == (9, ["0", "1", "2"])
    assert null.request("/page.json").json["review"] is None


def colours(scheme):
    """Read the colours of the light or the dark page."""
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    rules = re.findall(r":root \{(.*?)\}", style)
    return dict(re.findall(r"--([\w-]+): (#\w{6})", rules[0] if scheme == "light" else rules[1]))


def contrast(one, other):
    """Compute the contrast of two colours as WCAG 2 defines it."""

    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_colours_have_the_contrast_of_wcag_aa(scheme):
    found = colours(scheme)
    for ink, paper in product(("ink", "soft", "match", "review", "no-match", "accent"), ("paper", "shade")):
        assert contrast(found[ink], found[paper]) >= 4.5, (ink, paper)
    assert contrast(found["on-accent"], found["accent"]) >= 4.5
    assert contrast(found["edge"], found["paper"]) >= 3, "the border of a field"
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@in_browser
@pytest.mark.scenario("X8")
def test_page_in_a_browser_compares_texts_of_a_link_and_runs_no_markup(null, page):
    hostile = "<img src=x onerror=document.title='owned'>"
    page.console.clear()
    page.open(address(null, "?" + urlencode({"text": "150", "candidate": ["fits", hostile]}, doseq=True)))
    page.wait_for("document.querySelectorAll('#results > li').length === 2")
    assert page.run(TEXTS) == [f"{text} ✓ match probability 1.000 score 150.000" for text in ("fits", hostile)]
    assert page.run("document.title") == "flipkd: try it"
    assert page.run("document.images.length") == 0
    assert page.run("byId('status').textContent") == "2 of 2 match."
    assert "a probability of more than 99 % (a score of 100.000) on, two texts count as a match" in page.run(
        "byId('meaning').innerText"
    )
    assert [line for line in page.console if "favicon" not in line] == []


@in_browser
@pytest.mark.scenario("X10")
def test_page_in_a_browser_asks_for_the_key_and_keeps_it_in_the_tab(locked, page):
    page.open(address(locked))
    page.wait_for("document.activeElement.id === 'key'")
    assert page.run("byId('form').hidden")
    assert "API key" in page.run("document.body.innerText")
    page.type("w" * 32)
    page.press("Enter")
    page.wait_for("byId('status').textContent === 'The server did not accept this key.'")
    page.type(KEY)
    page.press("Enter")
    page.wait_for("document.activeElement.id === 'query'")
    assert page.run("byId('access').hidden")
    assert page.run("[sessionStorage.length, localStorage.length, document.cookie, location.search]") == [1, 0, "", ""]
    page.type("150")
    page.press("Tab")
    for _ in range(3):  # the examples of the index
        page.press("Tab")
    page.type("a\nb")
    page.press("Enter", control=True)
    page.wait_for("document.querySelectorAll('#results > li').length === 2")
    page.open(address(locked, "?again"))
    page.wait_for("!byId('form').hidden")
    page.run("byId('forget').click()")
    assert page.run("[sessionStorage.length, document.activeElement.id]") == [0, "key"]


@in_browser
def test_page_in_a_browser_shows_kept_columns_of_a_search_and_words_for_decisions(locked, page):
    page.open(address(locked))
    page.wait_for("document.activeElement.id === 'key'")
    page.run(f"sessionStorage.setItem('flipkd API key', '{KEY}')")
    page.open(address(locked, "?text=60"))
    page.wait_for("document.querySelectorAll('#results > li').length > 0")
    first = page.run(TEXTS)[0]
    assert first.endswith("answer Answer 2 id 2 similarity_of 2"), "the answer first, then the other columns"
    assert "? review probability" in first
    assert page.run("byId('status').textContent") == "0 of 9 match, 9 to review."
    page.run("[...document.querySelectorAll('#examples button')][1].click()")
    page.wait_for("byId('query').value === '1' && document.querySelector('.decision.no_match') !== null")
    kinds = page.run("[...byId('meaning').querySelectorAll('dt')].map((term) => term.textContent)")
    assert kinds == ["✓ match", "? review", "✗ no match"]


BROKEN = """(() => {  // words that lie on two lines
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), broken = [];
  while (walker.nextNode()) {
    for (const { index, 0: word } of walker.currentNode.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(walker.currentNode, index);
      range.setEnd(walker.currentNode, index + word.length);
      if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) broken.push(word);
    }
  }
  return broken;
})()"""


@in_browser
@pytest.mark.parametrize("dark", [False, True])
def test_page_in_a_narrow_browser_breaks_no_word_and_scrolls_nowhere_sideways(null, page, dark):
    words, longer = "Unfortunately transliteration of internationalisation", "https://shop.example/" + "longer/" * 20
    link = urlencode({"text": "150", "candidate": [f"{words} " * 3, longer]}, doseq=True)
    page.open(address(null, "?" + link), width=NARROW, dark=dark)
    page.wait_for("document.querySelectorAll('#results > li').length === 2")
    assert page.run(BROKEN) == [longer], "only what is wider than the page"
    assert page.run("document.documentElement.scrollWidth") <= NARROW
    found = colours("dark" if dark else "light")
    rgb = tuple(int(found["paper"][place : place + 2], 16) for place in (1, 3, 5))
    assert page.run("getComputedStyle(document.body).backgroundColor") == f"rgb{rgb}"
    small = page.run(
        "[...document.querySelectorAll('button')].filter((b) => b.offsetHeight && b.offsetHeight < 36).length"
    )
    assert small == 0
    unlabelled = "[...document.querySelectorAll('input, textarea')].filter((field) => !field.labels.length).length"
    assert page.run(unlabelled) == 0


ASK = """fetch('{address}', {{method: 'POST', body: '{{"pairs": [["150", "x"]]}}',
  headers: {{authorization: 'Bearer {key}', 'content-type': 'application/json'}}}})
  .then(async (answer) => [answer.status, (await answer.json()).detail ?? null]).catch((error) => error.name)"""


@in_browser
def test_browser_lets_pages_of_listed_origins_only_read_answers_and_errors(locked, page):
    match = address(locked, "match")
    page.open(locked.other)
    assert page.run(ASK.format(address=match, key=KEY)) == [200, None]
    assert page.run(ASK.format(address=match, key="wrong"))[0] == 401
    assert page.run(ASK.format(address=address(locked, "nowhere"), key=KEY))[0] == 404
    with elsewhere() as unlisted:
        page.open(unlisted)
        assert page.run(ASK.format(address=match, key=KEY)) == "TypeError"
