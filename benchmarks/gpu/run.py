"""Speed and memory on one GPU: ours and its peers', about nine minutes, no network; JSON is written as it goes.

    python benchmarks/gpu/run.py --output_dir gpu
    python benchmarks/gpu/run.py --output_dir gpu --only product student_train_flipped --pairs FILE.parquet
    python benchmarks/gpu/run.py --output_dir gpu --tiny
    python benchmarks/gpu/run.py --output_dir gpu --quality --pairs_folder benchmarks/quality/pairs

OUTPUT_DIR/measurements.json holds every finished measurement, run.log what libraries said. A measurement for which too
little time is left is skipped and says so; one that fails is named with its reason, and the others go on. With `--tiny`
everything runs on a CPU too, through random models of two layers with the tokenizer of `--model`. What stands behind
`--quality` is for quality.py, which then has the rest of the time.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harvest import last_lines
from measurements import AGAIN, FULL, TINY, select

from flipkd.files import read_json, write_json

HERE = Path(__file__).parent
SECONDS = 520.0
MOST_DEATHS = 3  # processes in a row that measured nothing at all
FLOPS = (
    "P weights in the linear layers of the body, L in their LoRA layers: training (4 P + 6 L) tokens + 8 hidden pairs, "
    "scoring 2 P tokens + 4 hidden pairs; tokens without padding, and where rows are padded what all begin with counted once "
    "(benchmarks/speed/machine.py)"
)


def measure_all(given: argparse.Namespace, scratch: str, until: float) -> None:
    """Processes, until every name has a result; where one died there is the failure."""
    output, log = given.output_dir / "measurements.json", given.output_dir / "run.log"
    names = [measurement.name for measurement in select(TINY if given.tiny else FULL, given.only)]
    words = ["--output", output, "--scratch", scratch, "--until", until, "--model", given.model]
    words += (["--pairs", given.pairs] if given.pairs else []) + (["--tiny"] if given.tiny else [])
    deaths = 0
    while todo := [name for name in names if name not in read_json(output)["measurements"]]:
        command = [sys.executable, str(HERE / "one_process.py"), *todo, *map(str, words)]
        with log.open("ab") as errors:
            code = subprocess.run(command, stderr=errors, env=surroundings()).returncode
        values = read_json(output)
        lost = [name for name in todo if name not in values["measurements"]]
        if not lost or code == AGAIN:
            continue
        deaths = deaths + 1 if lost == todo else 0
        for name in lost if deaths == MOST_DEATHS else lost[:1]:
            values["measurements"][name] = {
                "state": "failed",
                "why": f"its process ended with {code}: {last_lines(log)}",
            }
            print(f"{name}: failed, its process ended with {code}; see {log}", flush=True)
        write_json(output, values)


def surroundings() -> dict[str, str]:
    """The environment of a process: it finds the files of benchmarks/speed, and no network."""
    paths = [str(HERE.parent / "speed"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}


def about(given: argparse.Namespace) -> dict[str, Any]:
    """What stands above the measurements."""
    return {
        "command": shlex.join(["python", "benchmarks/gpu/run.py", *sys.argv[1:]]),
        "model": given.model,
        "pairs": given.pairs or "made up",
        "tiny": given.tiny,
        "flops": FLOPS,
        "measurements": {},
    }


def main() -> None:
    """Measure the names that are given, all without names."""
    until = time.time()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which nothing new begins")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--model", default="gemma-3-270m", help="the student: packaged name or folder")
    parser.add_argument("--pairs", help="file of labelled pairs; without it pairs are made up")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--quality", nargs=argparse.REMAINDER, help="options of quality.py")
    given = parser.parse_args()
    known = [measurement.name for measurement in select(TINY if given.tiny else FULL, None)]
    if unknown := [name for name in given.only or [] if name not in known]:
        parser.error(f"nothing is called {unknown[0]}; there are {', '.join(known)}")
    given.output_dir.mkdir(parents=True, exist_ok=True)
    (given.output_dir / "run.log").unlink(missing_ok=True)
    write_json(given.output_dir / "measurements.json", about(given))
    until += given.seconds
    with tempfile.TemporaryDirectory() as scratch:
        measure_all(given, scratch, until)
    if given.quality is not None:
        words = [*given.quality, "--output_dir", str(given.output_dir), "--seconds", str(until - time.time())]
        subprocess.run([sys.executable, str(HERE / "quality.py"), *words], check=True)


if __name__ == "__main__":
    main()
