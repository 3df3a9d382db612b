"""Fill the tables of README.md and docs/ from the result files; a test fails when they differ.

    python benchmarks/quality/tables.py            write
    python benchmarks/quality/tables.py --check    exit 1 when a page is not what the results say

A page holds `<!-- table: NAME -->` and `<!-- /table -->`; NAME is a data set of results/, and what stands between is made here.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from flipkd.stages.results import results_table

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
PAGES = ("README.md", "docs/results.md")
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def block(name: str) -> str:
    """The table of one data set, the command that made it and the packages it ran on."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    chosen = sorted((r for r in results if r["data"] == name), key=_place)
    if not chosen:
        raise SystemExit(f"{RESULTS}: no result of {name!r}")
    commands = "\n".join(dict.fromkeys(r["command"] for r in chosen))
    versions = ", ".join(f"{package} {number}" for package, number in chosen[0]["versions"].items())
    return f"{results_table(chosen)}\n\n```sh\n{commands}\n```\n\n{versions}\n"


def _place(result: dict[str, Any]) -> tuple[int, str, int]:
    from flipkd.stages.systems import SYSTEMS

    return list(SYSTEMS).index(result["system"]), json.dumps(result["overrides"], sort_keys=True), result["seed"]


def filled(page: str) -> str:
    """The page with every table as the results say."""
    return BLOCK.sub(lambda found: found[1] + block(found[2]) + found[3], page)


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page differs")
    arguments = parser.parse_args()
    stale = []
    for name in PAGES:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if before == after:
            continue
        stale.append(name)
        if not arguments.check:
            path.write_text(after, encoding="utf-8")
    if arguments.check and stale:
        sys.exit(f"not what the results say: {', '.join(stale)}; run python benchmarks/quality/tables.py")


if __name__ == "__main__":
    main()
