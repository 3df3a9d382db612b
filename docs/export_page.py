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
    "matcher",
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
        found["matcher"],
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
    """Return the table, a sentence for each matcher and for each combination without figures."""
    measured = [found for found in results["rows"] if "not_measured" not in found]
    lines = [text_table(HEADER, [row(found) for found in measured]), ""]
    for found in {found["matcher"]: found for found in measured}.values():
        spread = f"the standard deviation of the numbers compared is {found['spread']:.3g}"
        lines.append(f"- {found['matcher']}: score {found['score']}; {spread}.{noise(found['matcher'], measured)}")
    lines += [
        f"- {found['matcher']}, {found['format']}, {found['dtype']}: not measured: {found['not_measured']}"
        for found in results["rows"]
        if "not_measured" in found
    ]
    if earlier := [f"{found['format']} {found['dtype']}" for found in measured if "manifest" not in found]:
        lines.append(f"- Measured by an earlier version of the command: {', '.join(earlier)}.")
    used = ", ".join(f"{name} {version}" for name, version in results["libraries"].items())
    return "\n".join([*lines, "", f"On a CPU; {used}."])


def noise(matcher: str, measured: list[dict[str, Any]]) -> str:
    """Return the sentence about the rounding of a matcher in 16 bits; empty where it was not measured."""
    noisy = [found["noise"] for found in measured if found["matcher"] == matcher and found["noise"]]
    if not noisy:
        return ""
    return (
        f" In bfloat16, one pair per pass, the matcher itself differs by up to {noisy[0]['largest_difference']:.2g} from its "
        f"batches (Spearman {noisy[0]['spearman']:.4f})."
    )


def page() -> str:
    """The page with the block replaced."""
    found = text(json.loads(RESULTS.read_text(encoding="utf-8")))
    return BLOCK.sub(lambda match: f"{match[1]}{found}\n{match[2]}", PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
