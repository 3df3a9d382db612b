"""Speed and memory, ours against what a user would run instead: ratios within one run, one JSON per ratio.

    python benchmarks/speed/run.py --pairs benchmarks/quality/pairs/banking77_faq/test.parquet
    python benchmarks/speed/run.py --pairs FILE.parquet --only score_gemm_share rank_reuse_vs_joint --repeats 5

Every contender is a process of its own. After a warm-up they take turns (A B C A B C ...), so that a slow minute of the
machine falls on all; a ratio is the median of the ratios of the turns. A contender that is not installed is named and
its ratios are left out; no file is written for them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from processes import Failed, Worker, about_this_run, threads
from ratios import RATIOS, Line, Ratio, value

RESULTS = Path(__file__).parent / "results"
REPEATS = 3
WARM_UP, SLOW_WARM_UP = 16, 4  # pairs: a step
SLOW = ("train_trl", "train_sentence_transformers")  # most of a minute a turn: they sit out the last one
COUNTS = {
    "gemm": 0,
    "train": 32,
    "score": 256,
    "score_double": 512,
    "score_long": 32,
    "rank": 100,
    "memory_10k": 10_000,
    "memory_100k": 100_000,
    "startup": 1,
}
MOST_PRECISION_LOST, MOST_DECISIONS_FLIPPED = 0.002, 0.005  # parity, as issue 4 asks for


def result_of(ratio: Ratio, found: Mapping[str, Sequence[Line]], label: Sequence[int]) -> dict[str, Any]:
    """The figures of one ratio from the turns of its contenders."""
    ours, peer = found[ratio.ours], found[ratio.peer]
    shared = zip(ours[: len(peer)], peer, strict=True)  # a slow peer sits out the last turn
    each = [value(a, ratio.unit) / value(b, ratio.unit) for a, b in shared]
    result = {
        "name": ratio.name,
        "ratio": median(each),
        "ours": median(value(line, ratio.unit) for line in ours),
        "peer": median(value(line, ratio.unit) for line in peer),
        "unit": ratio.unit,
        "bar": ratio.bar_text,
        "ratios": each,
        "contenders": {
            side: {
                "name": name,
                "pairs": lines[0]["pairs"],
                "tokens": lines[0]["tokens"],
                "seconds": [line["seconds"] for line in lines],
                "peak_memory_bytes": max(line["peak_memory_bytes"] for line in lines),
            }
            for side, name, lines in (("ours", ratio.ours, ours), ("peer", ratio.peer, peer))
        },
    }
    both = ours[0]["scores"], peer[0]["scores"]
    if None not in both and len(both[0]) == len(both[1]):
        result |= agreement(*both, label)
    if ratio.same_as:
        result["parity"] = parity(agreement(both[0], found[ratio.same_as][0]["scores"], label))
    return result


def agreement(ours: Sequence[float], peer: Sequence[float], label: Sequence[int]) -> dict[str, Any]:
    """Average precision of both, and on which share of the pairs they decide differently, each at its own median."""
    import numpy as np

    from flipkd import measure

    decisions = [np.asarray(scores) > np.median(scores) for scores in (ours, peer)]
    return {
        "average_precision": {
            side: float(measure(np.asarray(scores), np.asarray(label))["average_precision"])
            for side, scores in (("ours", ours), ("peer", peer))
        },
        "decisions_differ": float((decisions[0] != decisions[1]).mean()),
    }


def parity(found: Mapping[str, Any]) -> dict[str, Any]:
    """What `agreement` found of scores that should be the same, and whether they are within the bounds."""
    lost = abs(found["average_precision"]["ours"] - found["average_precision"]["peer"])
    return {**found, "holds": lost <= MOST_PRECISION_LOST and found["decisions_differ"] <= MOST_DECISIONS_FLIPPED}


def differs(result: Mapping[str, Any]) -> bool:
    """Whether a ratio does not count because its scores are not those that they should be."""
    return not result.get("parity", {"holds": True})["holds"]


def warm_up_of(contender: str, counts: Mapping[str, int]) -> int:
    """Pairs before the first turn."""
    return min(SLOW_WARM_UP if contender in SLOW else WARM_UP, count_of(contender, counts))


def turns_of(contender: str, repeats: int) -> int:
    """How often it is measured."""
    return max(1, repeats - (contender in SLOW))


def count_of(contender: str, counts: Mapping[str, int]) -> int:
    """Pairs of one repetition: by the contender's name, else by its first word."""
    return counts.get(contender, counts.get(contender.partition("_")[0], 0))


def take_turns(
    names: Sequence[str], *, pairs: str, model: str, repeats: int, counts: Mapping[str, int]
) -> dict[str, list[Line]]:
    """Each contender's repetitions, in turns; all load at once, one that is missing or fails is named and left out."""
    found: dict[str, list[Line]] = {name: [] for name in names}
    workers = {name: Worker(name, pairs=pairs, model=model) for name in names}

    def one_repetition(name: str, worker: Worker) -> None:
        if len(found[name]) == turns_of(name, repeats):
            return
        found[name].append(worker.repeat(count_of(name, counts)))
        line, turn = found[name][-1], len(found[name])
        gib = line["peak_memory_bytes"] / 2**30
        say(f"{name}, turn {turn}: {line['pairs']} pairs in {line['seconds']:.2f} s, {gib:.2f} GiB")

    try:
        for_each(workers, lambda name, worker: worker.wait_until_ready())
        for_each(workers, lambda name, worker: worker.repeat(warm_up_of(name, counts)))
        for _ in range(repeats):
            for_each(workers, one_repetition)
    finally:
        for end in (Worker.dismiss, Worker.close):
            for worker in workers.values():
                end(worker)
    return {name: found[name] for name in workers}


def for_each(workers: dict[str, Worker], do: Callable[[str, Worker], object]) -> None:
    """One after another; who fails is named and taken out."""
    for name, worker in list(workers.items()):
        try:
            do(name, worker)
        except Failed as failed:
            say(f"{name}: {failed}; its ratios are left out")
            workers.pop(name).close()


def groups(ratios: Sequence[Ratio]) -> dict[str, list[Ratio]]:
    """Ratios whose contenders take turns together: training, scoring, ranking, memory."""
    found: dict[str, list[Ratio]] = {}
    for ratio in ratios:
        found.setdefault(ratio.ours.partition("_")[0], []).append(ratio)
    return found


def measure_group(group: Sequence[Ratio], given: argparse.Namespace, counts: Mapping[str, int]) -> None:
    """Run the contenders of a group and write its ratios."""
    from workload import read_task

    from flipkd.files import write_json

    names = list(dict.fromkeys(name for ratio in group for name in ratio.contenders))
    repeats = 1 if group[0].unit == "bytes" else given.repeats  # memory is the same every time, and 100,000 are many
    found = take_turns(names, pairs=given.pairs, model=given.model, repeats=repeats, counts=counts)
    task = read_task(given.pairs, given.model)
    words = ["python", "benchmarks/speed/run.py", *sys.argv[1:]]
    for ratio in group:
        label = task.first(count_of(ratio.ours, counts)).label
        if lacking := [name for name in ratio.contenders if name not in found]:
            say(f"{ratio.name}: left out, {lacking[0]} did not run", final=True)
            continue
        result = result_of(ratio, found, label)
        given.results.mkdir(parents=True, exist_ok=True)
        told = about_this_run() | {"command": shlex.join(words), "model": given.model, "repeats": repeats}
        write_json(given.results / f"{ratio.name}.json", result | told)
        say(
            f"{ratio.name}: {result['ratio']:.3g} ({ratio.bar_text})" + (" without parity" if differs(result) else ""),
            final=True,
        )


def say(words: str, *, final: bool = False) -> None:
    """A result goes to stdout, the way to it to stderr."""
    print(words, file=sys.stdout if final else sys.stderr, flush=True)


def main() -> None:
    """Measure the ratios that were asked for, all if none were named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", required=True, help="file of labelled pairs")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[ratio.name for ratio in RATIOS])
    parser.add_argument("--repeats", type=int, default=REPEATS, help="turns after the warm-up")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON files")
    parser.add_argument("--counts", default="", help="fewer pairs for a trial, for example train=16,score=32")
    given = parser.parse_args()
    fewer = (word.partition("=") for word in given.counts.split(",") if word)
    counts = COUNTS | {name: int(number) for name, _, number in fewer}
    say(f"{threads()} threads for each contender")
    for group in groups([ratio for ratio in RATIOS if not given.only or ratio.name in given.only]).values():
        measure_group(group, given, counts)


if __name__ == "__main__":
    main()
