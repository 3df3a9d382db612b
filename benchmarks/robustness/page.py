"""Fill the table of docs/matcher.md from the result files; a test fails when they differ.

python benchmarks/robustness/page.py            write
python benchmarks/robustness/page.py --check    exit 1 when the page is not what the results say
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "matcher.md"
MARKS = re.compile(r"(<!-- robustness -->\n).*?(<!-- /robustness -->)", re.DOTALL)
HEAD = "| matcher | score | AP | injected | neutral | difference | echo | upper case | look-alike | zero width | full width |"
SCORES = {
    "matcher": "its own",
    "answer": "answer",
    "cosine": "cosine",
    "teacher": "teacher",
    "combined": "answer and cosine",
}
SCORES |= {"with_teacher": "all three"}


def table(results: Mapping[str, Any]) -> str:
    """A line for each matcher and kind of score."""
    lines = [HEAD, "| --- " * 2 + "| --: " * 9 + "|"]
    for name, result in results.items():
        lines += [_line(name, kind, result["scores"][kind]) for kind in SCORES if kind in result["scores"]]
    return "\n".join(lines) + "\n"


def _line(name: str, kind: str, figures: Mapping[str, Any]) -> str:
    gained, lost = figures["to_match"], figures["to_no_match"]
    difference = gained.get("injection_minus_neutral")  # none where the threshold calls every pair a match
    cells = [name.replace("_", " "), SCORES[kind], f"{figures['average_precision']:.3f}"]
    cells += [_share(gained, "injection"), _share(gained, "neutral")]
    cells.append(_difference(difference) if difference else "")
    cells.append(_share(gained, "echo"))
    cells += [_share(lost, spelling) for spelling in ("upper_case", "look_alike", "zero_width", "full_width")]
    return f"| {' | '.join(cells)} |"


def _difference(found: Mapping[str, float]) -> str:
    return f"{_points(found['share'])} [{_points(found['low'])}, {_points(found['high'])}]"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "\u2212")


def _share(kinds: Mapping[str, Any], kind: str) -> str:
    return f"{100 * kinds[kind]['share']:.0f} %" if kind in kinds else ""


def filled(page: str) -> str:
    """The page with the table that the results say."""
    results = {
        path.stem: json.loads(path.read_text("utf-8")) for path in sorted((HERE / "results").glob("[a-z]*.json"))
    }
    return MARKS.sub(lambda marks: marks[1] + table(results) + marks[2], page)


def main() -> None:
    """Write the page, or compare it."""
    page = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv and filled(page) != page:
        raise SystemExit("docs/matcher.md is not what the results say; run python benchmarks/robustness/page.py")
    PAGE.write_text(filled(page), encoding="utf-8")


if __name__ == "__main__":
    main()
