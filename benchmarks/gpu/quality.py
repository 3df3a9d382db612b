"""The main table's systems on the sets of protocol small, side by side in several processes on one card.

    python benchmarks/gpu/quality.py --pairs_folder benchmarks/quality/pairs --output_dir gpu
    python benchmarks/gpu/quality.py --pairs_folder pairs --output_dir gpu --models gemma-3-270m=/models/gemma --seeds 0
    python benchmarks/gpu/quality.py --pairs_folder pairs --output_dir gpu --systems flipped,plain,plain+teacher_finetuned
    python benchmarks/gpu/quality.py --pairs_folder pairs --output_dir gpu --recipes recipes/ablations --systems swap mrpc:folds

Each item of --systems is a process of its own for each set and seed; `SET:` before it limits it to one set. The first
units are flipped and plain of the first seed on all sets, then the other seeds. OUTPUT_DIR/quality.tar.gz holds the
result and the scores of every finished unit and the end of every log, quality.json who finished, who failed and why, F1
and average precision; both are written anew whenever a unit is finished. With a WORK_DIR that is kept, the same command
resumes what an earlier one stopped, and does not start what has all its results. It measures quality: the units slow
each other down, and their times mean nothing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from harvest import collect, last_lines

RECIPES = Path(__file__).parents[2] / "recipes"
STUDENT, TEACHER = "gemma-3-270m", "all-MiniLM-L6-v2"  # defaults of `flipkd train` and `flipkd teach`
SYSTEMS = (("flipped", "teacher_finetuned"), ("plain",))  # flipped trains the teacher, whose own unit is then free
SECONDS, WORKERS, SEEDS = 520.0, 6, (0, 1, 2)
POLL, PATIENCE = 1.0, 8.0  # seconds between two looks, and that a stopped process gets to save


@dataclass(frozen=True)
class Job:
    """One process: systems of one set and seed, which share a teacher."""

    data: str
    seed: int
    systems: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of its folder and its log."""
        return f"{self.data}-{self.systems[0]}-seed{self.seed}"

    @property
    def units(self) -> list[str]:
        """Names of its result files."""
        return [f"{self.data}-{system}-seed{self.seed}" for system in self.systems]


def jobs(sets: Sequence[str], seeds: Sequence[int], systems: Sequence[tuple[str, ...]] = SYSTEMS) -> list[Job]:
    """All, most important first; `systems` are those of each process, of all sets or of the one named before a colon."""
    found = []
    for seed in seeds:
        for first, *others in systems:
            only, _, name = first.rpartition(":")
            found += [Job(data, seed, (name, *others)) for data in sets if only in ("", data)]
    return found


def command(job: Job, given: argparse.Namespace, folder: Path) -> list[str]:
    """`flipkd compare` of a recipe with the pairs, the models and the settings that are given."""
    recipe = given.recipes / f"{job.data}.yaml"
    teacher = yaml.safe_load(recipe.read_text(encoding="utf-8")).get("teach", {}).get("teacher_name_or_path", TEACHER)
    models = dict(word.split("=", 1) for word in given.models)
    changes = [f"systems=[{','.join(job.systems)}]", f"seeds=[{job.seed}]"]
    for setting, name in (("train.model_name_or_path", STUDENT), ("teach.teacher_name_or_path", teacher)):
        changes += [f"{setting}={models[name]}"] if name in models else []
    words = [sys.executable, "-m", "flipkd", "compare", "--config", str(recipe), "--output_dir", str(folder)]
    for split in ("train", "validation", "test"):
        words += [f"--{split}_file", str(given.pairs_folder / job.data / f"{split}.parquet")]
    return words + [word for change in [*changes, *given.set] for word in ("--set", change)]


def result_of(job: Job, unit: str, work_dir: Path) -> Path:
    """Return the path of a unit's result."""
    return work_dir / job.name / "results" / f"{unit}.json"


class Crew:
    """The processes that run, those that have ended, and those that have not begun."""

    def __init__(self, waiting: list[Job], given: argparse.Namespace, work_dir: Path) -> None:
        self.waiting, self.given, self.work_dir = waiting, given, work_dir
        self.running: dict[Job, subprocess.Popen[bytes]] = {}
        self.codes: dict[Job, int] = {}
        self.stopped: set[Job] = set()

    def begin(self) -> None:
        """Start as many as there are workers for."""
        while self.waiting and len(self.running) < self.given.workers:
            job = self.waiting.pop(0)
            log = (self.work_dir / f"{job.name}.log").open("ab")
            words = command(job, self.given, self.work_dir / job.name)
            with log:
                self.running[job] = subprocess.Popen(
                    words, stdout=log, stderr=log, env=self._surroundings(), start_new_session=True
                )

    def _surroundings(self) -> dict[str, str]:
        threads = max(1, (os.cpu_count() or 1) // self.given.workers)
        return os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        }

    def ended(self) -> list[Job]:
        """Those that have ended since the last look."""
        found = {job: code for job, process in self.running.items() if (code := process.poll()) is not None}
        self.codes |= found
        for job in found:
            del self.running[job]
        return list(found)

    def stop(self) -> None:
        """Ask all that run to save and stop, and end what does not."""
        self.stopped |= set(self.running)
        for process in self.running.values():
            os.killpg(process.pid, signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        for process in self.running.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def states(self) -> dict[str, dict[str, Any]]:
        """Job -> its state, and of one that failed the end of its log."""
        found: dict[str, dict[str, Any]] = {job.name: {"state": "running"} for job in self.running}
        found |= {job.name: {"state": "waiting"} for job in self.waiting}
        for job, code in self.codes.items():
            failed = {"state": "failed", "code": code, "why": last_lines(self.work_dir / f"{job.name}.log")}
            found[job.name] = (
                failed if code and job not in self.stopped else {"state": "stopped" if code else "finished"}
            )
        return dict(sorted(found.items()))


def work(crew: Crew, all_jobs: Sequence[Job], *, about: Mapping[str, Any], until: float) -> None:
    """Run them side by side until all are done or the time is up; what is finished is written at once."""
    names, seen = [unit for job in all_jobs for unit in job.units], -1
    try:
        while crew.running or crew.waiting:
            if time.monotonic() > until:
                break
            crew.begin()
            time.sleep(POLL)
            for job in crew.ended():
                print(f"{job.name}: {'failed' if crew.codes[job] else 'finished'}", flush=True)
            count = sum(1 for _ in crew.work_dir.glob("*/results/*.json")) + len(crew.codes)
            if count != seen:
                collect(crew.work_dir, crew.given.output_dir, names, about | {"jobs": crew.states()})
                seen = count
    finally:
        crew.stop()
        crew.ended()
        collect(crew.work_dir, crew.given.output_dir, names, about | {"jobs": crew.states()})


def main() -> None:
    """Run what is asked for."""
    until = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs_folder", type=Path, required=True, help="a folder for each set, made by draw.py")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--work_dir", type=Path, help="for runs and logs; without it they are thrown away")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--workers", type=int, default=WORKERS, help="processes side by side")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--recipes", type=Path, default=RECIPES, help="folder of a recipe for each set")
    parser.add_argument("--sets", nargs="+", help="default: those of the recipes")
    parser.add_argument(
        "--systems", nargs="+", metavar="[SET:]NAME[,NAME]", help="of each process, most important first"
    )
    parser.add_argument("--models", nargs="+", default=[], metavar="NAME=FOLDER", help="where a model lies")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of all comparisons")
    given = parser.parse_args()
    until += given.seconds
    given.output_dir.mkdir(parents=True, exist_ok=True)
    sets = given.sets or sorted(path.stem for path in given.recipes.glob("*.yaml"))
    systems = [tuple(names.split(",")) for names in given.systems] if given.systems else SYSTEMS
    all_jobs = jobs(sets, given.seeds, systems)
    about = {
        "command": shlex.join(["python", "benchmarks/gpu/quality.py", *sys.argv[1:]]),
        "workers": given.workers,
        "seeds": list(given.seeds),
    }
    with tempfile.TemporaryDirectory() as scratch:
        work_dir = given.work_dir or Path(scratch)
        work_dir.mkdir(parents=True, exist_ok=True)
        waiting = [job for job in all_jobs if not all(result_of(job, unit, work_dir).exists() for unit in job.units)]
        work(Crew(waiting, given, work_dir), all_jobs, about=about, until=until)


if __name__ == "__main__":
    main()
