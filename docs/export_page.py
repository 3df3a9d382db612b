"""Fill the table of docs/export.md from benchmarks/export/results.json: `python docs/export_page.py`.

A test fails when they differ.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from flipkd.commands.results import text_table

PAGE = Path(__file__).with_name("export.md")
RESULTS = PAGE.parents[1] / "benchmarks" / "export" / "results.json"
BLOCK = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)
HEADER = (
    "score",
    "format",
    "weights",
    "MB",
    "ids equal",
    "largest difference",
    "Spearman",
    "flipped",
    "AP",
    "matcher's AP",
)


def row(found: dict[str, Any]) -> list[str]:
    """Return the cells of one comparison."""
    precision = found["average_precision"]
    return [
        found["score"],
        found["format"],
        found["dtype"],
        f"{found['megabytes']:,.0f}",
        f"{found['ids_equal']} of {found['pairs'] - found['truncated']}",
        f"{found['largest_difference']:.2g}",
        f"{found['spearman']:.4f}",
        str(found["flipped"]),
        f"{precision['export']:.4f}",
        f"{precision['matcher']:.4f}",
    ]


def text(results: dict[str, Any]) -> str:
    """Return the table and the sentences about rounding."""
    rows = results["rows"]
    lines = [text_table(HEADER, [row(found) for found in rows]), ""]
    noisy = {found["score"]: found for found in rows if found["noise"]}
    for score, found in noisy.items():
        noise, rounding = found["noise"], results["in_float32"].get(score)
        in_float32 = f"; in float32 by up to {rounding['largest_difference']:.2g}" if rounding else ""
        lines.append(
            f"- Score {score}: the standard deviation is {found['spread']:.3g}. One pair per pass, the matcher itself differs by "
            f"up to {noise['largest_difference']:.2g} from its batches (Spearman {noise['spearman']:.4f}){in_float32}."
        )
    used = ", ".join(f"{name} {version}" for name, version in results["libraries"].items())
    return "\n".join([*lines, "", f"On a CPU; {used}."])


def page() -> str:
    """The page with the block replaced."""
    found = text(json.loads(RESULTS.read_text(encoding="utf-8")))
    return BLOCK.sub(lambda match: f"{match[1]}{found}\n{match[2]}", PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
