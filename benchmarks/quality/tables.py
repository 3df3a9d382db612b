"""Fill the tables of README.md and docs/ from the result files; a test fails when they differ.

    python benchmarks/quality/tables.py            write
    python benchmarks/quality/tables.py --check    exit 1 when a page is not what the results say

A page holds `<!-- table: NAME -->` and `<!-- /table -->`, and what stands between is made here. NAME is a data set of
results/, `main` for all sets at a glance, `ablations` for the paper's on the sets that have them, `variants` for all that
change one setting, `labels` for fewer labelled pairs, `both_orders` for what
`both_orders.py` found, or `choices/...` for the runs of that folder, on which a default was decided.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from flipkd.stages.results import results_table, text_table

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
RESULTS = HERE / "results"
DIFFERENCES = HERE / "differences"
MAIN_SETS = ("atec_finance", "mqp_medical", "nfcorpus_medical", "banking77_faq", "mrpc")
MAIN_SYSTEMS = ("tfidf", "teacher", "teacher_finetuned", "cross_encoder", "untrained", "plain", "flipped")
ABLATIONS = ("flipped", "minus_dist", "minus_mcl", "plain")  # in the paper's order, the best first
ABLATION_SETS = ("banking77_faq", "mqp_medical")
BUDGETS = ("100", "300", "1000")
METRICS = ("f1", "average_precision")
PAGES = ("README.md", "docs/results.md")
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def block(name: str) -> str:
    """The table of one data set, the command that made it and the packages it ran on; or the main table."""
    if name.startswith("choices/"):
        return choices_table(_read(HERE / name))
    results = _read(RESULTS)
    if name == "main":
        return main_table(results)
    if name == "ablations":
        return ablations_table(results)
    if name == "variants":
        return variants_table(results)
    if name == "labels":
        return labels_table(results)
    if name == "both_orders":
        return both_orders_table(json.loads((HERE / "both_orders.json").read_text(encoding="utf-8")))
    chosen = sorted((r for r in results if r["data"] == name), key=_place)
    if not chosen:
        return "No result yet.\n"
    commands = "\n".join(dict.fromkeys(r["command"] for r in chosen))
    versions = ", ".join(f"{package} {number}" for package, number in chosen[0]["versions"].items())
    return f"{results_table(chosen)}\n\n```sh\n{commands}\n```\n\n{versions}\n"


def _read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def choices_table(results: list[dict[str, Any]]) -> str:
    """F1 and AP on validation of runs that differ in what was to be decided."""
    kinds = ("answer", "cosine", "combined")
    rows = []
    for result in sorted(results, key=lambda r: (r["data"], _place(r))):
        found = {kind: scores["validation"] for kind, scores in result["by_score"].items()}
        cells = (
            f"{found[kind]['f1']:.3f} / {found[kind]['average_precision']:.3f}" if kind in found else "-"
            for kind in kinds
        )
        overrides = ", ".join(f"{name}={value}" for name, value in result["overrides"].items()) or "-"
        rows.append([result["data"], result["system"], overrides, *cells])
    commands = "\n".join(dict.fromkeys(r["command"] for r in results))
    return f"{text_table(['data', 'system', 'differs by', *kinds], rows)}\n\n```sh\n{commands}\n```\n"


def main_table(results: list[dict[str, Any]]) -> str:
    """F1 and AP on test of the systems that matter, a row per set; then flipped against plain and the teacher."""
    rows, differences = [], []
    for data in MAIN_SETS:
        cells = []
        for system in MAIN_SYSTEMS:
            units = [r["metrics"]["test"] for r in results if (r["data"], r["name"]) == (data, system)]
            metrics = METRICS if units else ()
            cells.append(" / ".join(f"{np.mean([unit[m] for unit in units]):.3f}" for m in metrics) or "-")
        seeds = sum((r["data"], r["name"]) == (data, "flipped") for r in results)
        rows.append([data, *cells, str(seeds)])
        path = DIFFERENCES / f"{data}.json"
        found = json.loads(path.read_text(encoding="utf-8"))["differences"] if path.exists() else {}
        against = [found.get(name, []) for name in ("plain", "teacher_finetuned")]
        differences.append([data, *(_difference(rows, metric) for rows in against for metric in METRICS)])
    header = ["data (F1 / AP on test)", *MAIN_SYSTEMS, "seeds"]
    told = text_table(
        [
            "data",
            *(f"flipped - {name}, {metric}" for name in ("plain", "teacher_finetuned") for metric in ("F1", "AP")),
        ],
        differences,
    )
    note = (
        "In points, with the 95 % interval of a paired bootstrap. AP reads no threshold, so there is less luck in it:"
    )
    return f"{text_table(header, rows)}\n\n{note}\n\n{told}\n"


def ablations_table(results: list[dict[str, Any]]) -> str:
    """F1 and AP on test, of the seeds for which all systems were run, and the mean over the sets."""
    found = {(r["data"], r["name"], r["seed"]): r["metrics"]["test"] for r in results}
    seeds = {
        data: sorted({s for d, _, s in found if d == data and all((data, name, s) in found for name in ABLATIONS)})
        for data in ABLATION_SETS
    }
    rows = []
    for name in ABLATIONS:
        by_set = [
            [np.mean([found[data, name, seed][metric] for seed in seeds[data]]) for metric in METRICS]
            for data in ABLATION_SETS
            if seeds[data]
        ]
        rows.append([name, *(f"{f1:.3f} / {precision:.3f}" for f1, precision in (*by_set, np.mean(by_set, axis=0)))])
    header = [
        "F1 / AP on test",
        *(f"{data}, seeds: {len(seeds[data])}" for data in ABLATION_SETS if seeds[data]),
        "mean",
    ]
    return f"{text_table(header, rows)}\n"


def variants_table(results: list[dict[str, Any]]) -> str:
    """F1 and AP on test of what differs from `flipped` in one thing, seed 0, a column per set."""
    found = {(r["data"], r["name"]): r for r in results if r["seed"] == 0 and r["system"] == "flipped"}
    recipe = yaml.safe_load((ROOT / "recipes" / "ablations" / f"{ABLATION_SETS[0]}.yaml").read_text(encoding="utf-8"))
    names = [n for n in recipe["systems"] if n.rpartition("_")[2] not in BUDGETS and n not in ("plain", "no_teacher")]
    rows = []
    for name in names:
        cells = [_pair(found.get((data, name))) for data in ABLATION_SETS]
        if set(cells) != {"-"}:
            words = ", ".join(word.rpartition("/")[2] for word in recipe["variants"].get(name, [])) or "-"
            rows.append([name, words, *cells])
    return f"{text_table(['F1 / AP on test', 'differs by', *ABLATION_SETS], rows)}\n"


def labels_table(results: list[dict[str, Any]]) -> str:
    """F1 and AP on test by the number of labelled pairs, for teacher and student alike, of the seeds that all have."""
    found = {(r["data"], r["name"], r["seed"]): r for r in results}
    rows = []
    for data in ABLATION_SETS:
        for ending in (*(f"_{budget}" for budget in BUDGETS), ""):
            plain, flipped = (found.get((data, name + ending, 0)) for name in ("plain", "flipped"))
            if plain and flipped:
                gains = [flipped["metrics"]["test"][metric] - plain["metrics"]["test"][metric] for metric in METRICS]
                told = " / ".join(f"{100 * gain:+.1f}" for gain in gains)
                control = _pair(found.get((data, "no_teacher" + ending, 0)))
                rows.append([data, ending.removeprefix("_") or "all", _pair(plain), control, _pair(flipped), told])
    header = ["F1 / AP on test", "labelled pairs", "plain", "no_teacher", "flipped", "flipped - plain, points"]
    return f"{text_table(header, rows)}\n"


def _pair(result: dict[str, Any] | None) -> str:
    if result is None:
        return "-"
    return " / ".join(f"{result['metrics']['test'][metric]:.3f}" for metric in METRICS)


def both_orders_table(found: dict[str, Any]) -> str:
    """F1 and AP on validation of pairs as given, turned round, and of the mean of both scores."""
    rows = [
        [data, system, *(" / ".join(f"{orders[order][metric]:.3f}" for metric in METRICS) for order in orders)]
        for data, systems in sorted(found["sets"].items())
        for system, orders in systems.items()
    ]
    header = ["data", "system", "as given", "turned round", "mean of both"]
    return f"{text_table(header, rows)}\n\n```sh\n{found['command']}\n```\n"


def _difference(rows: list[dict[str, Any]], metric: str) -> str:
    for row in rows:
        if row["name"] == "flipped":
            difference, low, high, p = (row[metric][key] for key in ("difference", "low", "high", "p_value"))
            return f"{100 * difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}], p = {p:.3f}"
    return "-"


def _place(result: dict[str, Any]) -> tuple[int, str, int]:
    from flipkd.stages.systems import SYSTEMS

    rank = list(SYSTEMS).index(result["system"]) + (result["name"] not in SYSTEMS) * len(SYSTEMS)
    return rank, json.dumps(result["overrides"], sort_keys=True), result["seed"]


def filled(page: str) -> str:
    """The page with every table as the results say."""
    return BLOCK.sub(lambda found: found[1] + block(found[2]) + found[3], page)


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page differs")
    arguments = parser.parse_args()
    stale = []
    for name in PAGES:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if before == after:
            continue
        stale.append(name)
        if not arguments.check:
            path.write_text(after, encoding="utf-8")
    if arguments.check and stale:
        sys.exit(f"not what the results say: {', '.join(stale)}; run python benchmarks/quality/tables.py")


if __name__ == "__main__":
    main()
