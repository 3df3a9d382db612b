"""Fill the GPU section of docs/performance.md from what run.py wrote; a test fails when they differ.

Besides measurements.json the folder may hold measurements-NAME.json of earlier runs: they count for what the newest run
did not measure.

python benchmarks/gpu/page.py            write
python benchmarks/gpu/page.py --check    exit 1 when the page is not what the results say
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measurements import FULL

from flipkd.commands.results import text_table
from flipkd.files import read_json

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
BLOCK = re.compile(r"(<!-- gpu -->\n).*?(<!-- /gpu -->)", re.DOTALL)
TOKENS = f"_{FULL.tokens[0]}_tokens"  # of the layers' steps that are held against peers
NOT_RUN = "This benchmark has not been run on a GPU yet.\n"
Found = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Bar:
    """A figure that is held against a bar: `figure` finds it, or None where something that it needs was not measured."""

    words: str
    figure: Callable[[Found], float | None]
    bar: float
    unit: str


def rate(name: str) -> Callable[[Found], float | None]:
    """The value of a measurement."""
    return lambda found: found.get(name, {}).get("value")


def best_share(kind: str) -> Callable[[Found], float | None]:
    """The largest share of the product rate, of all steps of the 7B-shaped layers, in percent."""
    names = [f"layers_{kind}", *(f"layers_{kind}_{tokens}_tokens" for tokens in FULL.tokens)]

    def figure(found: Found) -> float | None:
        shares = [share for name in names if (share := found.get(name, {}).get("share_of_product")) is not None]
        return 100 * max(shares) if shares else None

    return figure


def times(model: str, peer: str) -> Callable[[Found], float | None]:
    """Plain training against the peer's best way, at equal batches."""
    ending = TOKENS if model == "layers" else ""

    def figure(found: Found) -> float | None:
        ours = rate(f"{model}_train_plain{ending}")(found)
        ways = (peer, f"{peer}_packed") if peer == "trl" else (peer,)
        theirs = [value for way in ways if (value := rate(f"{model}_train_{way}{ending}")(found))]
        return ours / max(theirs) if ours and theirs else None

    return figure


BARS = (
    Bar("gemma-3-270m, flipped training, default batch", rate("student_train_flipped"), 3000, "pairs/s"),
    Bar("gemma-3-270m, scoring, default batch", rate("student_score"), 10_000, "pairs/s"),
    Bar("7B-shaped layers, plain training, of the product rate", best_share("train_plain"), 45, "%"),
    Bar("7B-shaped layers, flipped training, of the product rate", best_share("train_flipped"), 45, "%"),
    Bar("7B-shaped layers, scoring, of the product rate", best_share("score"), 60, "%"),
    Bar("gemma-3-270m, plain training against TRL", times("student", "trl"), 3, "times"),
    Bar(
        "gemma-3-270m, plain training against sentence-transformers",
        times("student", "sentence_transformers"),
        3,
        "times",
    ),
    Bar("7B-shaped layers, plain training against TRL", times("layers", "trl"), 3, "times"),
    Bar(
        "7B-shaped layers, plain training against sentence-transformers",
        times("layers", "sentence_transformers"),
        3,
        "times",
    ),
)


def section(folder: Path = RESULTS) -> str:
    """All tables, or that nothing was measured."""
    path = folder / "measurements.json"
    if not path.exists():
        return NOT_RUN
    runs = [read_json(path), *map(read_json, sorted(folder.glob("measurements-*.json"), reverse=True))]
    found: dict[str, Mapping[str, Any]] = {}
    parts = []
    for run in runs:
        own = {name: result for name, result in run["measurements"].items() if is_news(result, found.get(name))}
        found |= own
        parts += [everything(own), where(run)] if own else []
    return "\n\n".join([bars(found), *parts, *quality(folder / "quality.json")]) + "\n"


def is_news(result: Mapping[str, Any], newer: Mapping[str, Any] | None) -> bool:
    """Return whether a result is the newest of its measurement, or the newest that has a value."""
    return newer is None or (newer["state"] != "measured" and result["state"] == "measured")


def bars(found: Found) -> str:
    """A row per bar."""
    rows = []
    for bar in BARS:
        figure = bar.figure(found)
        cells = ["not measured", "-"] if figure is None else [shown(figure), "yes" if figure >= bar.bar else "no"]
        rows.append([bar.words, cells[0], f"at least {bar.bar:,g}", cells[1], bar.unit])
    return text_table(["figure", "measured", "bar", "reached", "unit"], rows)


def everything(found: Found) -> str:
    """A row per measurement, with the reason where there is no figure."""
    header = ["measurement", "value", "unit", "batch", "tokens a pair", "of the product rate", "GiB", "warm-up s"]
    return text_table(header, [row(name, result) for name, result in found.items()])


def row(name: str, found: Mapping[str, Any]) -> list[str]:
    """Cells of one measurement."""
    if found["state"] != "measured":
        return [name, f"{found['state']}: {found['why'].splitlines()[0][:80]}", *["-"] * 6]
    value, unit = found["value"], found["unit"]
    for large, word in (("FLOP/s", "TFLOP/s"), ("bytes/s", "TB/s")):
        if unit == large:
            value, unit = value / 1e12, word
    share, memory = found.get("share_of_product"), found["peak_memory_bytes"]
    return [
        name,
        shown(value),
        unit,
        str(found["settings"].get("batch", "-")),
        f"{found['tokens_per_pair']:.0f}" if "tokens_per_pair" in found else "-",
        "-" if share is None else f"{100 * share:.1f} %",
        "-" if memory is None else f"{memory / 2**30:.1f}",
        f"{found['warm_up_seconds']:.0f}" if "warm_up_seconds" in found else "-",
    ]


def shown(value: float) -> str:
    """Whole numbers from a hundred on, else three figures."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def where(values: Mapping[str, Any]) -> str:
    """The command, the card, the packages."""
    card = values["card"]
    name = card.get("card", f"{card['device']} ({values['processor']})")
    versions = ", ".join(f"{package} {number}" for package, number in values["versions"].items())
    return f"```sh\n{values['command']}\n```\n\n{name}; CUDA {card['cuda']}; {versions}; pairs: {values['pairs']}"


def quality(path: Path) -> list[str]:
    """F1 and average precision on test of each set, means over the seeds that were finished; and who failed."""
    if not path.exists():
        return []
    values = read_json(path)
    rows = [
        [
            data,
            name,
            *(f"{100 * found[figure]:.1f}" for figure in ("f1", "average_precision")),
            str(len(found["seeds"])),
        ]
        for data, systems in values["sets"].items()
        for name, found in systems.items()
    ]
    states = [job["state"] for job in values["jobs"].values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    text = text_table(["set", "system", "F1", "average precision", "seeds"], rows)
    return [f"Quality on the same card, processes: {counts}.", text, f"```sh\n{values['command']}\n```"]


def filled(page: str, folder: Path = RESULTS) -> str:
    """The page with the section as the results say."""
    return BLOCK.sub(lambda found: found[1] + section(folder) + found[2], page)


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page differs")
    check, before = parser.parse_args().check, PAGE.read_text(encoding="utf-8")
    after = filled(before)
    if check and before != after:
        sys.exit("docs/performance.md is not what the results say; run python benchmarks/gpu/page.py")
    if before != after:
        PAGE.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
