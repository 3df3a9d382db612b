"""Export the matchers of a demo to every format and compare each with its library on labelled pairs.

    flipkd demo --output_dir demo        # or make demo
    python benchmarks/export/run.py demo
    python docs/export_page.py

Two matchers are made in FOLDER/exports: the flipped student calibrated to its answer, and a student of separate reading,
trained on few pairs. A row is stored in results.json when it is measured; the same command continues with the rows that are
missing, and measures those of a changed matcher again. What cannot be measured is printed and stored with the reason.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flipkd import train
from flipkd.command_config import CalibrateConfig, ExportConfig
from flipkd.commands.calibrate import calibrate
from flipkd.commands.export import write_export
from flipkd.commands.verify import load_pairs
from flipkd.config import TrainConfig
from flipkd.errors import FlipkdError
from flipkd.exports.formats import FORMATS
from flipkd.exports.record import installed_libraries
from flipkd.files import MANIFEST, sha256, write_json
from flipkd.student.contract import read_contract

RESULTS = Path(__file__).with_name("results.json")
BOTH = ("bfloat16", "float32")
DTYPES = {"text-encoder": ("float32",), "onnx": ("float32", "int8"), "gguf": ("bfloat16", "int8")}
PLANS = {
    "plain": ("merged", "adapter", "sentence-transformers", "sequence-classification", "onnx", "gguf"),
    "flipped": ("merged", "adapter"),
    "flipped, answer": ("onnx",),
    "separate": ("text-encoder",),
}
TRAINING = {"num_train_epochs": 1, "reading": "separate", "objectives": {"answer_cross_entropy": 1.0}}


def first_rows(source: Path, count: int, target: Path) -> str:
    """Write the first rows of a csv file to `target` and return its path."""
    with source.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[: count + 1]
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return str(target)


def matcher_of(name: str, demo: Path) -> Path:
    """Return the folder of a matcher of PLANS, which is made first if the demo does not have it."""
    made = demo / "exports"
    validation = str(demo / "data" / "validation.csv")
    if name == "separate":
        pairs = first_rows(demo / "data" / "train.csv", 160, made / "train.csv")
        data = {"train_file": pairs, "validation_file": validation, "output_dir": str(made / "separate")}
        return train(TrainConfig.check(data | TRAINING))
    kind = name.partition(",")[0]
    folder = next(demo.glob(f"runs/{kind}-*/matcher"), None)
    if folder is None:
        raise SystemExit(f"{demo}: holds no runs/{kind}-*/matcher; give the folder that flipkd demo wrote")
    if kind == name:
        return folder
    answer = made / "answer"
    if not answer.exists():
        settings = {
            "matcher": str(folder),
            "validation_file": validation,
            "score": "answer",
            "output_dir": str(answer),
        }
        calibrate(CalibrateConfig.check(settings))
    return answer


def measure(matcher: Path, to: str, dtype: str, *, pairs: str) -> dict[str, Any]:
    """Export, load with the library and compare; return the comparison, or the reason why there is none."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch)
        settings = {"matcher": str(matcher), "to": to, "output_dir": str(target), "dtype": dtype}
        try:
            _, found = write_export(ExportConfig.check(settings), target, *load_pairs(pairs, None))
        except FlipkdError as error:
            return {"not_measured": str(error)}
        size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return {"library": FORMATS[to].library, "megabytes": round(size / 1e6, 1)} | found.as_dict()


def combinations() -> Iterator[tuple[str, str, str]]:
    """Iterate over matcher, format and type of weights."""
    for name, formats in PLANS.items():
        for to in formats:
            for dtype in DTYPES.get(to, BOTH):
                yield name, to, dtype


def main() -> None:
    """Measure the rows that are missing; a finished one is written at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder of flipkd demo")
    parser.add_argument("--pairs", type=int, default=50, help="number of test pairs")
    given = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"rows": []}
    (given.demo / "exports").mkdir(exist_ok=True)
    pairs = first_rows(given.demo / "data" / "test.csv", given.pairs, given.demo / "exports" / "pairs.csv")
    rows = {(row["matcher"], row["format"], row["dtype"]): row for row in results["rows"]}
    for name, to, dtype in combinations():
        folder = matcher_of(name, given.demo)
        made_of = {"manifest": sha256(folder / MANIFEST), "test_pairs": sha256(Path(pairs))}
        known = rows.get((name, to, dtype), {})
        if "not_measured" in known or {key: known.get(key) for key in made_of} != made_of:
            score = " + ".join(read_contract(folder).score)
            row = {"matcher": name, "score": score, "format": to, "dtype": dtype} | made_of
            rows[name, to, dtype] = row | measure(folder, to, dtype, pairs=pairs)
            kept = [rows[key] for key in combinations() if key in rows]
            write_json(RESULTS, {"libraries": installed_libraries(), "rows": kept})
        print(name, to, dtype, rows[name, to, dtype].get("not_measured", "measured"), flush=True)


if __name__ == "__main__":
    main()
