"""Write docs/images/ from pages as a browser shows them: `python docs/screenshots.py report FOLDER`.

FOLDER is the output folder of `flipkd compare` or `make demo`. Needs Chromium on PATH. `IMAGES` has a row per page.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

IMAGES_FOLDER = Path(__file__).with_name("images")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=10000")
DARK = "--blink-settings=preferredColorScheme=0"
NARROWEST = 500  # pixels of a window of headless Chromium


def screenshot(page: Path, target: Path, *, width: int = 1200, height: int = 1500, dark: bool = False) -> None:
    """Write the upper `height` pixels of a page, `width` pixels wide, as PNG."""
    browser = shutil.which("chromium")
    if browser is None:
        sys.exit("no chromium on PATH: install it (Debian: apt-get install chromium)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        address = page.resolve().as_uri()
        if width < NARROWEST:  # a frame of that width in a wider window
            frame = Path(folder) / "frame.html"
            style = f"width: {width}px; height: {height}px; border: 0"
            frame.write_text(f'<body style="margin: 0"><iframe src="{address}" style="{style}"></iframe>', "utf-8")
            address = frame.as_uri()
        words = [browser, *FLAGS, *([DARK] if dark else []), f"--window-size={max(width, NARROWEST)},{height}"]
        words += [f"--user-data-dir={folder}/profile", f"--screenshot={target.resolve()}", address]
        subprocess.run(words, check=True, capture_output=True, timeout=120)


def report_images(folder: Path) -> None:
    """The report of a comparison: wide, dark, and on a phone."""
    page = folder / "report.html"
    screenshot(page, IMAGES_FOLDER / "report.png")
    screenshot(page, IMAGES_FOLDER / "report-dark.png", dark=True)
    screenshot(page, IMAGES_FOLDER / "report-400.png", width=400, height=1800)


IMAGES: dict[str, Callable[[Path], None]] = {"report": report_images}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", choices=IMAGES)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    IMAGES[given.page](given.folder)
