"""Random kills of `flipkd match --output_dir` and of its Ray workers: `python benchmarks/scale/kills.py --kills 20`.

A small match runs again and again; after a random time the command, or a random worker, gets SIGKILL, until all kills are
done. Then the rows are compared with those of a run without kills: none may be lost, doubled or have another score.
Writes kills.json beside this file and its sentence in docs/large_files.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from match_files import PAGE, write_inputs, write_matcher

HERE = Path(__file__).parent
BEGIN, END = "<!-- kills -->", "<!-- /kills -->"
ATOL = 1e-5  # batches of other sizes round differently


def command(matcher: Path, folder: Path, out: str, engine: str) -> list[str]:
    words = [sys.executable, "-m", "flipkd", "match", "--matcher", str(matcher), f"{folder}/*.csv"]
    return [
        *words,
        "--output_dir",
        f"{folder}/{out}",
        "--engine",
        engine,
        "--rows_per_part",
        "2000",
        "--workers",
        "2",
    ]


def workers() -> list[int]:
    """Process ids of the Ray workers that score."""
    found = subprocess.run(["pgrep", "-f", "ray::MapWorker"], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def run_and_kill(words: list[str], draw: random.Random, counts: Counter[str]) -> bool:
    """Run the command; kill it, or workers of it, at random times. Return whether it ended well."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while True:
        try:
            return process.wait(draw.uniform(5, 40)) == 0
        except subprocess.TimeoutExpired:
            alive = workers()
        if alive and draw.random() < 0.5:
            os.kill(draw.choice(alive), signal.SIGKILL)
            counts["worker"] += 1
        else:
            process.kill()
            process.wait()
            subprocess.run(
                [Path(sys.executable).with_name("ray"), "stop", "--force"], capture_output=True, check=False
            )
            counts["command"] += 1
            return False


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("part-*")) for row in pq.read_table(path).to_pylist()]


def sentence(result: dict[str, Any]) -> str:
    """Say in one sentence what was killed and what was lost."""
    kills = result["kills"]
    command, worker = kills.get("command", 0), kills.get("worker", 0)
    runs, lost = result["finished runs"], result["runs with a lost, doubled or other row"]
    return (
        f"`python benchmarks/scale/kills.py` matched {result['pairs']:,} pairs with `--engine ray` {runs} times;\n"
        f"SIGKILL at random times ended the command {command} times and a worker {worker} times. Runs whose rows differed\n"
        f"from those of a run without kills (lost, doubled, another score): {lost}."
    )


def write_page(result: dict[str, Any]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
    PAGE.write_text(f"{text[:before]}\n{sentence(result)}\n{text[after:]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    draw, counts, rounds, start = random.Random(options.seed), Counter[str](), 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        matcher = write_matcher(folder)
        write_inputs(folder, options.pairs)
        subprocess.run(command(matcher, folder, "whole", "local"), check=True, capture_output=True)
        expected = rows(folder / "whole")
        differing = 0
        while counts.total() < options.kills:
            rounds += 1
            out = f"out{rounds}"
            while not run_and_kill(command(matcher, folder, out, "ray"), draw, counts):
                print(dict(counts), flush=True)
            found = rows(folder / out)
            same_rows = [(row["file"], row["row"]) for row in found] == [(row["file"], row["row"]) for row in expected]
            scores = zip(found, expected, strict=False)
            differing += not same_rows or any(abs(a["score"] - b["score"]) > ATOL for a, b in scores)
    result = {
        "pairs": options.pairs,
        "kills": dict(counts),
        "finished runs": rounds,
        "runs with a lost, doubled or other row": differing,
        "seconds": round(time.perf_counter() - start),
    }
    (HERE / "kills.json").write_text(json.dumps(result, indent=1) + "\n")
    write_page(result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
