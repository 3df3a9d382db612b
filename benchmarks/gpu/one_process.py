"""Measures one after another in one process and writes each result at once; run.py starts it, and again when it died.

    PYTHONPATH=benchmarks/speed python benchmarks/gpu/one_process.py NAME... --output FILE --scratch FOLDER --until SECONDS

After a failure that leaves the GPU unusable for this process it ends with AGAIN, and what is left is for the next one.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import time
import traceback
from functools import cache
from pathlib import Path
from typing import Any, TextIO

sys.path.append(
    str(Path(__file__).parents[1] / "speed")
)  # behind this folder, whose run.py and page.py are other ones

from bench import Bench, clean, of_memory, peak
from card import about_card
from measurements import AGAIN, FULL, TINY, Measurement, Size, select
from processes import about_this_run
from workload import MissingError

from flipkd.device import best_device
from flipkd.files import read_json, write_json
from flipkd.student import loading
from flipkd.tables import pick

GRACE, PATIENCE = 60.0, 5.0  # a measurement is ended after GRACE + PATIENCE times its estimate
OVERTIME = 45.0  # and at the latest so long after the time is up


class Results:
    """The file of all results, written anew with each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = read_json(path) if path.exists() else {"measurements": {}}

    @property
    def found(self) -> dict[str, dict[str, Any]]:
        """Name -> what was found."""
        found: dict[str, dict[str, Any]] = self.values["measurements"]
        return found

    def put(self, name: str, result: dict[str, Any]) -> None:
        """Add one, and write."""
        self.found[name] = result
        write_json(self.path, self.values)


def measure(measurement: Measurement, bench: Bench) -> dict[str, Any]:
    """Its result with the time it took and its peak memory, or why there is none."""
    begun = time.monotonic()
    functions = {measurement.name: measurement.function}
    clean()
    try:
        found = {
            "state": "measured",
            **pick(functions, measurement.name, what="measurement")(bench, **measurement.settings),
        }
    except MissingError as missing:
        found = {"state": "skipped", "why": str(missing)}
    except Exception as error:
        traceback.print_exc()
        found = {"state": "failed", "why": f"{type(error).__name__}: {error}"[-2000:], "unusable": unusable(error)}
    return found | {
        "peak_memory_bytes": peak() if not found.get("unusable") else None,
        "took_seconds": time.monotonic() - begun,
    }


def unusable(error: BaseException) -> bool:
    """Whether the GPU takes nothing more from this process: after a fault of a kernel all that follows fails as well."""
    message = f"{error} {error.__cause__ or ''}"
    return not of_memory(error) and any(word in message for word in ("CUDA error", "CUBLAS_STATUS", "device-side"))


def said(name: str, result: dict[str, Any]) -> str:
    """One line for whoever waits."""
    if result["state"] != "measured":
        return f"{name}: {result['state']}, {result['why'].splitlines()[0] if result['why'] else ''}"
    extra = [f"batch {result['settings']['batch']}"] if "batch" in result["settings"] else []
    if result.get("share_of_product"):
        extra.append(f"{100 * result['share_of_product']:.1f} % of the product rate")
    if result["peak_memory_bytes"]:
        extra.append(f"{result['peak_memory_bytes'] / 2**30:.1f} GiB")
    extra.append(f"took {result['took_seconds']:.0f} s")
    return f"{name}: {result['value']:.5g} {result['unit']} ({', '.join(extra)})"


def all_of_them(
    chosen: list[Measurement], bench: Bench, results: Results, *, size: Size, until: float, channel: TextIO
) -> int:
    """Measure what there is time for, a line to `channel` for each; the exit code."""
    for measurement in chosen:
        left, needed = until - time.time(), measurement.estimate * size.estimates
        if left < needed:
            result: dict[str, Any] = {"state": "skipped", "why": f"{left:.0f} s left, needs about {needed:.0f} s"}
        else:
            print(f"== {measurement.name}", file=sys.stderr, flush=True)
            faulthandler.dump_traceback_later(min(GRACE + PATIENCE * needed, left + OVERTIME), exit=True)
            result = measure(measurement, bench)
            faulthandler.cancel_dump_traceback_later()
        again = result.pop("unusable", False)
        results.put(measurement.name, result)
        print(said(measurement.name, result), file=channel, flush=True)
        if again:
            return AGAIN
    return 0


def main() -> None:
    """Measure the names that are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for models made here")
    parser.add_argument("--until", type=float, required=True, help="seconds since 1970")
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    size, results, device = TINY if given.tiny else FULL, Results(given.output), best_device()
    results.values |= about_this_run() | {"card": about_card(device)}
    # A fresh student for each measurement needs no fresh tokenizer, whose loading is seconds outside the time.
    setattr(loading, "load_tokenizer", cache(loading.load_tokenizer))  # noqa: B010  mypy knows functions as constants
    bench = Bench(given.model, given.pairs, size, given.scratch, device, found=results.found, tiny=given.tiny)
    chosen = select(size, given.names)
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is for the log
    sys.exit(all_of_them(chosen, bench, results, size=size, until=given.until, channel=channel))


if __name__ == "__main__":
    main()
