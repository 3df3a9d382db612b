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
ANSWER_ONLY = ("merged", "sentence-transformers", "sequence-classification", "onnx", "gguf")
DTYPES = ("bfloat16", "float32", "int8")


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


def earlier_results(formats: list[str] | None) -> dict[str, Any]:
    """Return the results of other formats in results.json; empty ones where all formats are measured."""
    if formats is None or not RESULTS.exists():
        return {"libraries": {}, "matcher_in_float32": {}, "rows": []}
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found | {"rows": [row for row in found["rows"] if row["format"] not in formats]}


def main() -> None:
    """Measure all combinations; a finished one is written at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder, or the matcher folder in it")
    parser.add_argument("--validation_file", required=True)
    parser.add_argument("--test_file", required=True)
    parser.add_argument("--pairs", type=int, default=200, help="number of test pairs")
    parser.add_argument(
        "--formats", nargs="*", help="measure only these formats; the rows of others in results.json stay"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        pairs, labels = load_pairs(first_rows(given.test_file, given.pairs, scratch), None)
        own = given.run / "matcher" if (given.run / "matcher").is_dir() else given.run
        answer = scratch / "answer"
        settings = {"matcher": str(own), "validation_file": given.validation_file, "output_dir": str(answer)}
        calibrate(CalibrateConfig.check(settings | {"score": "answer"}))
        results = earlier_results(given.formats)
        for matcher, score, formats in ((own, "as trained", COMPLETE), (answer, "answer", ANSWER_ONLY)):
            chosen = [to for to in formats if given.formats is None or to in given.formats]
            if not chosen:
                continue
            loaded = Matcher.from_pretrained(matcher)
            expected = {dtype: reference(loaded, pairs, dtype=dtype) for dtype in ("bfloat16", "float32")}
            expected["int8"] = expected["float32"]
            difference = np.abs(expected["bfloat16"].scores - expected["float32"].scores)
            rounding = {"largest_difference": float(difference.max()), "mean": float(difference.mean())}
            results["matcher_in_float32"][score] = rounding
            del loaded
            for to in chosen:
                for dtype in (
                    DTYPES[:1] if to == "adapter" else [name for name in DTYPES if name in FORMATS[to].dtypes]
                ):
                    found = measure(matcher, to, expected[dtype], labels, dtype=dtype, scratch=scratch)
                    results["rows"].append({"score": score} | found)
                    results["libraries"] = installed_libraries()
                    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
