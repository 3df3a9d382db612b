"""Memory and speed of `flipkd match --output_dir` by the number of pairs: `python benchmarks/scale/match_files.py`.

The student is tiny. Each size runs in a process of its own, on files of 50,000 pairs. Writes match_files.json beside this
file and the table in docs/large_files.md. Memory is the peak resident set of the process and of its children, by the kernel.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE, BEGIN, END = ROOT / "docs" / "large_files.md", "<!-- memory -->", "<!-- /memory -->"
ROWS_PER_FILE = 50_000
sys.path.append(str(ROOT / "tests"))


def write_matcher(folder: Path) -> Path:
    """Write the matcher of a tiny student with random weights; this measures the loop, not the model."""
    from tiny import build_model, build_tokenizer, student_config
    from tiny_matchers import write_matcher as write

    from flipkd.student.loading import new_student

    tokenizer = build_tokenizer()
    build_model("llama", vocabulary=len(tokenizer), layers=1).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")

    def make_student(_family: str, **settings: Any) -> Any:
        return new_student(student_config(folder / "base", **settings))

    return write(make_student, folder / "matcher", "llama", "joint")


def write_inputs(folder: Path, pairs: int) -> None:
    for number, start in enumerate(range(0, pairs, ROWS_PER_FILE)):
        with (folder / f"{number:04d}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("text1", "text2"))
            for row in range(start, min(start + ROWS_PER_FILE, pairs)):
                rows.writerow((f"card {row} is lost", f"where is my card {row % 997}"))


def measure(matcher: Path, pairs: int, engine: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), pairs)
        start = time.perf_counter()
        command = [sys.executable, "-m", "flipkd", "match", "--matcher", str(matcher), f"{folder}/*.csv", "--json"]
        command += ["--output_dir", f"{folder}/out", "--engine", engine]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - start
    summary = json.loads(done.stdout)
    if summary["rows"] != pairs or summary["rejected"]:
        raise SystemExit(f"{summary} for {pairs} pairs")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {"pairs": pairs, "engine": engine, "seconds": round(seconds, 1), "peak_gib": round(peak, 3)}


def table(results: list[dict[str, Any]]) -> str:
    lines = ["| pairs | engine | seconds | pairs a second | peak GiB |", "| --- | --- | --- | --- | --- |"]
    for row in results:
        rate = row["pairs"] / row["seconds"]
        lines.append(
            f"| {row['pairs']:,} | {row['engine']} | {row['seconds']:.0f} | {rate:,.0f} | {row['peak_gib']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, nargs="+", default=[100_000, 1_000_000], help="from small to large")
    parser.add_argument("--engine", default="local")
    parser.add_argument("--matcher", type=Path)
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        matcher = options.matcher or write_matcher(Path(folder))
        results = []
        for pairs in options.pairs:
            results.append(measure(matcher, pairs, options.engine))
            print(json.dumps(results[-1]), flush=True)
    (HERE / "match_files.json").write_text(json.dumps(results, indent=1) + "\n")
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
    caption = "Tiny student with random weights, two cores, `python benchmarks/scale/match_files.py`:"
    PAGE.write_text(f"{text[:before]}\n{caption}\n\n{table(results)}\n{text[after:]}", encoding="utf-8")


if __name__ == "__main__":
    main()
