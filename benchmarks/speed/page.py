"""Fill the table of docs/performance.md from the result files; a test fails when they differ.

python benchmarks/speed/page.py            write
python benchmarks/speed/page.py --check    exit 1 when the page is not what the results say
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from ratios import RATIOS, SMALLER_IS_BETTER, Ratio
from run import RESULTS, differs

from flipkd.commands.results import text_table

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
BLOCK = re.compile(r"(<!-- speed -->\n).*?(<!-- /speed -->)", re.DOTALL)
BREAKDOWN = re.compile(r"(<!-- breakdown -->\n).*?(<!-- /breakdown -->)", re.DOTALL)
HEADER = ["ratio", "measured", "bar", "reached", "ours", "against", "unit", "GiB ours", "GiB against"]


def read_results(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Ratio name -> its result, of those that were measured."""
    paths = {ratio.name: folder / f"{ratio.name}.json" for ratio in RATIOS}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def table(results: dict[str, dict[str, Any]]) -> str:
    """A row per ratio; then the commands, and the packages and processors they ran on."""
    rows = [row(ratio, results.get(ratio.name)) for ratio in RATIOS]
    text = text_table(HEADER, rows) + "\n"
    if not results:
        return text
    commands = "\n".join(dict.fromkeys(result["command"] for result in results.values()))
    machines = dict.fromkeys(machine(result) for result in results.values())
    return f"{text}\n```sh\n{commands}\n```\n\n" + "\n".join(machines) + "\n"


def row(ratio: Ratio, result: dict[str, Any] | None) -> list[str]:
    """Cells of one ratio."""
    if result is None:
        return [ratio.name, "not measured yet", ratio.bar_text, *["-"] * (len(HEADER) - 3)]
    sides = [result["contenders"][side]["peak_memory_bytes"] / 2**30 for side in ("ours", "peer")]
    return [
        ratio.name,
        f"{result['ratio']:.2f}",
        ratio.bar_text,
        "no parity" if differs(result) else reached(ratio, result["ratio"]),
        short(result["ours"]),
        short(result["peer"]),
        ratio.unit,
        *(f"{side:.2f}" for side in sides),
    ]


def reached(ratio: Ratio, found: float) -> str:
    """Whether the bar is reached."""
    if ratio.bar is None:
        return "-"
    return "yes" if (found <= ratio.bar if ratio.unit in SMALLER_IS_BETTER else found >= ratio.bar) else "no"


def short(value: float) -> str:
    """Three figures, and a letter for thousands upwards."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def machine(result: dict[str, Any]) -> str:
    """Packages, processor and threads of one result."""
    versions = ", ".join(f"{package} {number}" for package, number in result["versions"].items())
    return f"{versions}; {result['model']}; {result['processor']}, threads: {result['threads']}"


def breakdown_rows(found: dict[str, Any]) -> list[list[str]]:
    """Table rows: a piece and its share in training and scoring, largest in training first; then the products' rate."""
    kinds = ("train_plain", "score")
    pieces = sorted(found["train_plain"]["shares"], key=lambda piece: -found["train_plain"]["shares"][piece])
    rows = [[piece, *(f"{100 * found[kind]['shares'][piece]:.0f} %" for kind in kinds)] for piece in pieces]
    rates = [f"{100 * found[kind]['product_rate'] / found['gemm']:.0f} %" for kind in kinds]
    return [*rows, ["rate inside the matrix products, of the large product's", *rates]]


def breakdown_table(folder: Path = RESULTS) -> str:
    """Where the time goes, and the command that found it."""
    path = folder / "breakdown.json"
    if not path.exists():
        return "Not measured yet.\n"
    found = json.loads(path.read_text(encoding="utf-8"))
    text = text_table(["operators", "plain training", "scoring"], breakdown_rows(found))
    return f"{text}\n\n```sh\n{found['command']}\n```\n\n{machine(found)}\n"


def filled(page: str, results: dict[str, dict[str, Any]]) -> str:
    """The page with the tables as the results say."""
    page = BREAKDOWN.sub(lambda found: found[1] + breakdown_table() + found[2], page)
    return BLOCK.sub(lambda found: found[1] + table(results) + found[2], page)


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page differs")
    given = parser.parse_args()
    before = PAGE.read_text(encoding="utf-8")
    after = filled(before, read_results())
    if before == after:
        return
    if given.check:
        sys.exit("docs/performance.md is not what the results say; run python benchmarks/speed/page.py")
    PAGE.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
