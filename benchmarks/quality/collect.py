"""Take over what comparisons found: a file per unit, and the paired differences of each data set.

    python benchmarks/quality/collect.py comparison/*

A comparison's last run may have named some of its systems only; differences of the others stay as they were collected
before, as long as the result files still say the same. Scores of single pairs, models and reports stay where they are;
they are large, and a comparison makes them again.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from flipkd.report.comparison import adjust

HERE = Path(__file__).parent


def main(folders: list[Path], here: Path = HERE) -> None:
    """Copy the units' results; write differences/NAME.json."""
    if unfinished := [str(folder) for folder in folders if not (folder / "results.json").exists()]:
        sys.exit(f"no results.json in {', '.join(unfinished)}: the comparison was stopped; run it to its end first")
    for folder in folders:
        for path in sorted((folder / "results").glob("*.json")):
            shutil.copy(path, here / "results" / path.name)
        whole = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        target = here / "differences" / f"{whole['data']}.json"
        target.parent.mkdir(exist_ok=True)
        before = json.loads(target.read_text(encoding="utf-8"))["differences"] if target.exists() else {}
        kept = {name: whole[name] for name in ("data", "command", "pairs")}
        kept["differences"] = merged(before, whole["differences"], test_f1(here / "results", whole["data"]))
        target.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        print(f"{whole['data']}: {len(whole['units'])} units")


def test_f1(folder: Path, data: str) -> dict[tuple[str, int], float]:
    """(name, seed) -> F1 on test of every result of one data set."""
    results = (json.loads(path.read_text(encoding="utf-8")) for path in folder.glob(f"{data}-*.json"))
    return {(r["name"], r["seed"]): r["metrics"]["test"]["f1"] for r in results if r["data"] == data}


def merged(
    before: dict[str, list[dict[str, Any]]], new: dict[str, list[dict[str, Any]]], f1: dict[tuple[str, int], float]
) -> dict[str, list[dict[str, Any]]]:
    """Reference -> its rows: the new ones, and those of before that the results still bear out.

    Where both have a row of one name, the one over more seeds stays. p is corrected anew, for all rows that stand there.
    """

    def holds(row: dict[str, Any]) -> bool:
        if any((name, seed) not in f1 for name in (row["name"], row["against"]) for seed in row["seeds"]):
            return False
        found = mean(f1[row["name"], seed] - f1[row["against"], seed] for seed in row["seeds"])
        return abs(found - row["f1"]["difference"]) < 1e-9

    rows = {}
    for reference in dict.fromkeys([*before, *new]):
        kept = {row["name"]: row for row in before.get(reference, []) if holds(row)}
        for row in new.get(reference, []):
            if len(row["seeds"]) >= len(kept.get(row["name"], row)["seeds"]):
                kept[row["name"]] = row
        rows[reference] = list(kept.values())
        adjust(rows[reference])
    return rows


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
