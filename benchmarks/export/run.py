"""Export a finished matcher to every format and type of weights, compare each on labelled pairs, and write results.json.

    python benchmarks/export/run.py RUN --validation_file data/validation.csv --test_file data/test.csv

The formats that compute the answer alone get a matcher of `calibrate --score answer`. docs/export_page.py shows the results.
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
from flipkd.command_config import CalibrateConfig, ExportConfig
from flipkd.commands.calibrate import calibrate
from flipkd.commands.export import export
from flipkd.commands.verify import load_pairs
from flipkd.exports.compare import Reference, compare, reference
from flipkd.exports.formats import FORMATS
from flipkd.exports.record import installed_libraries, read_record

RESULTS = Path(__file__).with_name("results.json")
COMPLETE = ("merged", "adapter")  # formats with all parts of the score
ANSWER_ONLY = ("merged", "sentence-transformers", "sequence-classification")
DTYPES = ("bfloat16", "float32")


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


def main() -> None:
    """Measure all combinations; a finished one is written at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder, or the matcher folder in it")
    parser.add_argument("--validation_file", required=True)
    parser.add_argument("--test_file", required=True)
    parser.add_argument("--pairs", type=int, default=200, help="number of test pairs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        pairs, labels = load_pairs(first_rows(given.test_file, given.pairs, scratch), None)
        own = given.run / "matcher" if (given.run / "matcher").is_dir() else given.run
        answer = scratch / "answer"
        settings = {"matcher": str(own), "validation_file": given.validation_file, "output_dir": str(answer)}
        calibrate(CalibrateConfig.check(settings | {"score": "answer"}))
        rows, roundings = [], {}
        for matcher, score, formats in ((answer, "answer", ANSWER_ONLY), (own, "as trained", COMPLETE)):
            loaded = Matcher.from_pretrained(matcher)
            expected = {dtype: reference(loaded, pairs, dtype=dtype) for dtype in DTYPES}
            difference = np.abs(expected["bfloat16"].scores - expected["float32"].scores)
            roundings[score] = {"largest_difference": float(difference.max()), "mean": float(difference.mean())}
            del loaded
            for dtype in DTYPES:
                for to in formats if dtype == DTYPES[0] else [to for to in formats if to != "adapter"]:
                    found = measure(matcher, to, expected[dtype], labels, dtype=dtype, scratch=scratch)
                    rows.append({"score": score} | found)
                    results = {"libraries": installed_libraries(), "matcher_in_float32": roundings, "rows": rows}
                    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
