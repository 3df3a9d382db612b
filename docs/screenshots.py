"""Write docs/images/ from pages as a browser shows them: `python docs/screenshots.py report FOLDER`, `page`, `watch`, `review`.

FOLDER is the output folder of `flipkd compare` or `make demo`; `page` serves its matcher with an index of FAQ. For `watch`
it holds `watch.html`, the page of `flipkd watch`. `review` needs no folder: its server has a queue of three pairs and a matcher
without a model.
Needs Chromium: on PATH, or named by FLIPKD_CHROMIUM. `IMAGES` has a row per page.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from browser import Page, browser  # noqa: E402
from servers import null_server, running  # noqa: E402

IMAGES_FOLDER = Path(__file__).with_name("images")
WIDE, NARROW = 1200, 400  # pixels
FAQ = [
    ("How do I report a lost or stolen card?", "Block it in the app under Cards, then order a new one there."),
    ("When will my new card arrive?", "Within five working days by post. It has no tracking number."),
    ("How do I change my PIN?", "At any cash machine of ours, under More services."),
    ("Why was my transfer rejected?", "Most often a digit of the account number is wrong; the app names the reason."),
    ("How do I close my account?", "In the app under Account, Close. The balance must be zero."),
]
QUERY = "My purse is gone, and my card was in it."
CANDIDATES = ["I can't find my card anywhere.", "Someone took my wallet yesterday.", "When is my new PIN sent?"]


def write_screenshot(page: Page, name: str) -> None:
    """Write what the window shows to an image."""
    IMAGES_FOLDER.mkdir(parents=True, exist_ok=True)
    (IMAGES_FOLDER / name).write_bytes(page.screenshot())


def report_images(folder: Path) -> None:
    """Write images of the report of a comparison: wide, dark and narrow."""
    with browser() as page:
        for name, size in (
            ("report.png", {"width": WIDE, "height": 1500}),
            ("report-dark.png", {"width": WIDE, "height": 1500, "dark": True}),
            ("report-400.png", {"width": NARROW, "height": 1800}),
        ):
            page.open((folder / "report.html").resolve().as_uri(), **size)
            page.wait_for("[...document.querySelectorAll('.chart')].every((chart) => chart.dataset.drawn)")
            write_screenshot(page, name)


def page_images(folder: Path) -> None:
    """Write images of the page of a server: a search, and a comparison dark and narrow."""
    [matcher] = folder.glob("runs/flipped-*/matcher")
    [teacher] = folder.glob("runs/teacher-*")
    program = (sys.executable, "-m", "flipkd")
    with tempfile.TemporaryDirectory() as temporary:
        faq, index = Path(temporary, "faq.csv"), Path(temporary, "index")
        with open(faq, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("question", "answer"), *FAQ])
        options = ("--encoder", teacher, "--text", "question", "--keep", "answer", "--output_dir", index)
        subprocess.run([*map(str, (*program, "index", faq, *options))], check=True)
        serve = (*program, "serve", "--matcher", matcher, "--index", index, "--port", 0)
        with running(*serve, first_line_on="stderr") as server, browser() as page:
            server.until_ready()
            address = "http://{}:{}/?".format(*server.address)
            searched = address + urlencode({"text": QUERY})
            compared = address + urlencode({"text": QUERY, "candidate": CANDIDATES}, doseq=True)
            for name, link, size in (
                ("page.png", searched, {"width": WIDE, "height": 1300}),
                ("page-dark.png", compared, {"width": WIDE, "height": 1300, "dark": True}),
                ("page-400.png", searched, {"width": NARROW, "height": 1800}),
            ):
                page.open(link, **size)
                page.wait_for("document.querySelectorAll('#results > li').length > 0")
                write_screenshot(page, name)


def review_images(_folder: Path) -> None:
    """Write an image of the page on which people label pairs."""
    from flipkd.review.queue import ReviewQueue
    from flipkd.review.sampling import ScoredPair, chosen

    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, "queue.db")
        with ReviewQueue(file, create=True) as queue:
            pairs = [ScoredPair(QUERY, question, 0.0, 0.5, "review") for question, _ in FAQ[:3]]
            queue.add(chosen(pairs, share=0), matcher="example")
        with null_server(queue=str(file)) as server, browser() as page:
            server.until_ready()
            page.open("http://{}:{}/review".format(*server.address), width=WIDE, height=480)
            page.type("Ann")
            page.press("Enter")
            page.wait_for("!byId('work').hidden")
            page.press("m")
            page.wait_for("byId('progress').textContent.startsWith('1 of')")
            write_screenshot(page, "review.png")


def watch_image(folder: Path) -> None:
    """Write an image of the page of a drift watch."""
    with browser() as page:
        page.open((folder / "watch.html").resolve().as_uri(), width=WIDE, height=1500)
        page.wait_for("[...document.querySelectorAll('.chart')].every((chart) => chart.dataset.drawn)")
        write_screenshot(page, "watch.png")


IMAGES: dict[str, Callable[[Path], None]] = {
    "report": report_images,
    "page": page_images,
    "watch": watch_image,
    "review": review_images,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", choices=IMAGES)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("."))
    given = parser.parse_args()
    IMAGES[given.page](given.folder.resolve())
