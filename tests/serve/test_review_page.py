"""The page /review in a browser: labelling by keyboard, undo, hostile texts as text, narrow and dark windows."""

import pytest
from browser import CHROMIUM, NO_CHROMIUM, browser
from servers import null_server

from flipkd.review.queue import ReviewQueue

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
KEY = "k" * 32
BEARER = {"authorization": f"Bearer {KEY}"}
HOSTILE = "<img src=x onerror=document.title='owned'>"
TEXTS = ["one line", "two\nlines", HOSTILE]
NARROW = 400  # pixels
LABELS = "[...document.querySelectorAll('#labels button')].map((button) => button.innerText)"


@pytest.fixture(scope="module")
def page():
    with browser() as page:
        yield page


@pytest.fixture
def server(tmp_path):
    with null_server(api_key=KEY, review=50.0, queue=str(tmp_path / "q.db")) as server:
        server.until_ready()
        server.request("/match", {"pairs": [["60", text] for text in TEXTS]}, **BEARER)
        server.queue = tmp_path / "q.db"
        yield server


def log_in(server, page, name="ann", **window):
    page.open("http://{}:{}/review".format(*server.address), **window)
    page.run("sessionStorage.clear()")
    page.console.clear()
    page.open("http://{}:{}/review?again".format(*server.address), **window)
    for field, text in (("name", name), ("key", KEY)):
        page.wait_for(f"document.activeElement.id === '{field}'")
        page.type(text)
        page.press("Enter")
    page.wait_for("byId('work').hidden === false || byId('again').hidden === false")


def wait_for_own(page, count):
    page.wait_for(f"byId('progress').textContent.endsWith('Labelled by you: {count}.')")


def shown(page):
    return page.run("byId('text2').textContent")


def votes(server):
    with ReviewQueue(server.queue) as queue:
        return {pair.text2: pair.votes for pair in queue.pairs() if pair.votes}


def test_review_page_lets_an_annotator_label_all_pairs_by_keyboard(server, page):
    log_in(server, page)
    assert page.run("byId('undo').hidden")
    order = [shown(page)]
    page.press("m")
    wait_for_own(page, 1)
    order.append(shown(page))
    assert page.run("document.activeElement.id") == "pair", "a screen reader reads the new pair"
    page.press("s")
    wait_for_own(page, 2)
    assert votes(server) == {order[0]: {"ann": 1}, order[1]: {"ann": None}}
    page.press("u")
    wait_for_own(page, 1)
    assert shown(page) == order[1]
    page.press("n")
    wait_for_own(page, 2)
    order.append(shown(page))
    page.run("document.querySelector('[data-label=match]').click()")
    page.wait_for("!byId('again').hidden")
    assert page.run("byId('status').textContent") == "Stored: match. No pair is left for you now."
    assert page.run("byId('progress').textContent") == "3 of 3 pairs are done. Labelled by you: 3."
    assert votes(server) == {order[0]: {"ann": 1}, order[1]: {"ann": 0}, order[2]: {"ann": 1}}
    assert sorted(order) == sorted(TEXTS)
    page.press("m")
    page.press("m", control=True)
    assert votes(server)[order[2]] == {"ann": 1}
    assert [line for line in page.console if "favicon" not in line and "401" not in line] == []
    assert page.run("[document.title, document.images.length]") == ["flipkd: review", 0]


def test_review_page_labels_nothing_by_held_keys_and_other_shortcuts(server, page):
    log_in(server, page)
    page.press("m", control=True)
    repeat = "document.dispatchEvent(new KeyboardEvent('keydown', { key: 'm', repeat: true, bubbles: true }))"
    page.run(repeat)
    page.run("document.body.focus()")
    assert votes(server) == {}
    first = "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'm', bubbles: true }))"
    page.run(f"{first}; {first}")
    wait_for_own(page, 1)
    assert len(votes(server)) == 1, "the second press came before the next pair was shown"


@pytest.mark.parametrize("dark", [False, True])
def test_review_page_in_a_narrow_window_shows_all_without_scrolling_sideways(server, page, dark):
    server.request("/match", {"pairs": [["60", "https://shop.example/" + "longer/" * 40]]}, **BEARER)
    log_in(server, page, width=NARROW, dark=dark)
    for count in range(1, 4):
        assert page.run("document.documentElement.scrollWidth") <= NARROW
        assert all(text.split()[1] for text in page.run(LABELS))
        small = "[...document.querySelectorAll('button')].filter((b) => b.offsetHeight && b.offsetHeight < 36).length"
        assert page.run(small) == 0
        page.press("n")
        wait_for_own(page, count)
    dark_now = page.run("getComputedStyle(document.body).backgroundColor") == "rgb(22, 22, 21)"
    assert dark_now is dark


def test_review_page_asks_again_after_a_wrong_key(server, page):
    page.open("http://{}:{}/review?again".format(*server.address))
    page.run("sessionStorage.setItem('flipkd API key', 'wrong'); sessionStorage.setItem('flipkd annotator', 'ann')")
    page.open("http://{}:{}/review".format(*server.address))
    page.wait_for("byId('status').textContent === 'The server did not accept this key.'")
    assert page.run("[byId('work').hidden, byId('access').hidden, byId('text1').textContent]") == [True, False, ""]
