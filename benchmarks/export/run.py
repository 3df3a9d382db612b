"""Export a finished matcher to every format and type of weights, compare each on labelled pairs, and write results.json.

    flipkd calibrate --matcher run/matcher --validation_file data/validation.csv --score answer --output_dir answer
    python benchmarks/export/run.py answer --test_file data/test.csv
    python benchmarks/export/run.py run/matcher --test_file data/test.csv --formats merged adapter

A combination that was measured before is replaced. docs/export_page.py shows the results.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from flipkd import Matcher
from flipkd.command_config import ExportConfig
from flipkd.commands.export import export
from flipkd.commands.verify import load_pairs
from flipkd.exports.compare import Reference, compare, reference
from flipkd.exports.formats import FORMATS
from flipkd.exports.record import installed_libraries, read_record

RESULTS = Path(__file__).with_name("results.json")


def measure(matcher: Path, to: str, expected: Reference, labels: Any, *, dtype: str, scratch: Path) -> dict[str, Any]:
    """Export, load with the library and compare; return the comparison and the size of the folder."""
    out = scratch / f"{matcher.name}-{to}-{dtype}"
    export(ExportConfig.check({"matcher": str(matcher), "to": to, "output_dir": str(out), "dtype": dtype}))
    record, chosen = read_record(out), FORMATS[to]
    loaded = Matcher.from_pretrained(matcher)
    scorer = chosen.functions().load(out, record, base_model=loaded.contract.base_model_name_or_path)
    bounds = chosen.bounds_of(dtype, loaded.contract)
    found = compare(expected, scorer, loaded, bounds=bounds, labels=labels).as_dict()
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    shutil.rmtree(out)
    return {"format": to, "library": chosen.library, "dtype": dtype, "megabytes": round(size / 1e6, 1)} | found


def first_rows(path: str, count: int, scratch: Path) -> str:
    """Write the first rows of a csv file and return the path."""
    with open(path, newline="", encoding="utf-8") as source:
        rows = list(csv.reader(source))[: count + 1]
    with open(scratch / "pairs.csv", "w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows(rows)
    return str(scratch / "pairs.csv")


def store(found: dict[str, Any], rounding: dict[str, float] | None) -> None:
    """Add a comparison to results.json, in the place of an earlier one of the same combination."""
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"rows": [], "in_float32": {}}
    key = ("score", "format", "dtype")
    rows = [row for row in results["rows"] if [row[name] for name in key] != [found[name] for name in key]]
    results["rows"] = sorted([*rows, found], key=lambda row: [row[name] for name in key])
    results["libraries"] = installed_libraries()
    if rounding is not None:
        results["in_float32"][found["score"]] = rounding
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Measure the combinations; a finished one is written at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("matcher", type=Path, help="matcher folder")
    parser.add_argument("--test_file", required=True, help="labelled pairs, csv")
    parser.add_argument("--pairs", type=int, default=200, help="number of test pairs")
    parser.add_argument("--formats", nargs="+", default=["merged", "sentence-transformers", "sequence-classification"])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        pairs, labels = load_pairs(first_rows(given.test_file, given.pairs, scratch), None)
        loaded = Matcher.from_pretrained(given.matcher)
        score = " + ".join(f"{weight:g} {kind}" for kind, weight in loaded.contract.score.items())
        expected = {dtype: reference(loaded, pairs, dtype=dtype) for dtype in given.dtypes}  # float32 is the last one
        rounding = None
        if set(given.dtypes) == {"bfloat16", "float32"}:
            difference = np.abs(expected["bfloat16"].scores - expected["float32"].scores)
            rounding = {"largest_difference": float(difference.max()), "mean": float(difference.mean())}
        del loaded
        for dtype in given.dtypes:
            for to in given.formats:
                found = measure(given.matcher, to, expected[dtype], labels, dtype=dtype, scratch=scratch)
                store({"score": score} | found, rounding)


if __name__ == "__main__":
    main()
