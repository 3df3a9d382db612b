"""Fill the tables of README.md and docs/ from the result files; a test fails when they differ.

    python benchmarks/quality/tables.py            write
    python benchmarks/quality/tables.py --check    exit 1 when a page is not what the results say

A page holds `<!-- table: NAME -->` and `<!-- /table -->`, and what stands between is made here. NAME is a data set of
results/, `main` for all sets at a glance, `scores` for each score of a student alone, `pool` for few labels with and
without unlabelled pairs, `ablations` for the paper's on the sets that have them, `variants` for all that change one
setting, `answer_objective` for the two objectives of the answer, `objectives` for the field's other objectives,
`second_student` for a larger LLM, `mined` for training without mined pairs, `labels` for fewer labelled pairs,
`both_orders` for the results of `both_orders.py`, `headline` and `speed` for the README, or `choices/...` for the runs of
that folder, on which a default was decided. `earlier/NAME` takes the results of earlier/, which were measured with other
defaults.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from recipes_table import answer_objective_table, mined_table, recipes_table

from flipkd.commands.results import text_table
from flipkd.comparison.table import results_table
from flipkd.evaluate import holm
from flipkd.evaluate.combine import PLUS
from flipkd.report.system import REFERENCES
from flipkd.report.words import p_value

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
DIFFERENCES = HERE / "differences"
MAIN_SETS = ("atec_finance", "mqp_medical", "nfcorpus_medical", "banking77_faq", "mrpc")
MAIN_SYSTEMS = (
    "always_match",
    "tfidf",
    "teacher",
    "teacher_finetuned",
    "cross_encoder",
    "untrained",
    "plain",
    "plain+teacher_finetuned",
    "no_teacher",
    "answer_kd",
    "paper",
    "shuffled_teacher",
    "flipped",
    "flipped+teacher_finetuned",
)
CONTROLS = ("plain", "no_teacher", "answer_kd", "paper", "shuffled_teacher")  # of labels, of the teacher
ABLATIONS = ("flipped", "minus_dist", "minus_mcl", "plain")  # in the paper's order, the best first
ABLATION_SETS = ("banking77_faq", "mqp_medical")
BUDGETS = ("100", "300", "1000")
POOL = ("plain_300", "plain_long_300", "teacher_300", "plain_300+teacher_300", "flipped_300", "pool_300")
POOL_SETS = ("banking77_faq", "atec_finance")
SCORES = (  # system, kind of its score
    ("plain", "answer"),
    ("flipped", "answer"),
    ("flipped", "cosine"),
    ("flipped", "combined"),
    ("teacher_finetuned", "score"),
    ("flipped+teacher_finetuned", "combined"),
    ("plain+teacher_finetuned", "combined"),
)
METRICS = ("f1", "average_precision")
HEADLINE = {  # systems of the README, as a reader who does not know flipkd would name them
    "teacher_finetuned": "encoder",
    "plain": "LLM",
    "plain+teacher_finetuned": "LLM + encoder",
    "flipped": "flipkd",
}
SPEED = {  # ratios of the README
    "train_plain_vs_trl": "training on labels: pairs per second / TRL's",
    "train_plain_vs_sentence_transformers": "training on labels: pairs per second / sentence-transformers'",
    "flipped_joint_cost": "training: seconds with the teacher / without (lower is better)",
    "score_vs_sentence_transformers": "scoring: pairs per second / sentence-transformers'",
    "score_vs_llama_cpp": "scoring: pairs per second / llama.cpp's",
    "score_vs_generate": "scoring: pairs per second / transformers' generate",
    "rank_vs_cross_encoder": "ranking of known documents: pairs per second / a cross-encoder's",
}
PAGES = ("README.md", "docs/results.md")
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def block(name: str) -> str:
    """The table of one data set, the command that made it and the packages it ran on; or the main table."""
    if name.startswith("choices/"):
        return choices_table(_read(HERE / name))
    folder, name = (HERE / "earlier", name.removeprefix("earlier/")) if name.startswith("earlier/") else (HERE, name)
    results = _read(folder / "results")
    if name == "headline":
        return headline_table(results)
    if name == "speed":
        return speed_table()
    if name == "main":
        return main_table(results)
    if name == "scores":
        return scores_table(results)
    if name == "pool":
        return pool_table(results)
    if name == "ablations":
        return ablations_table(results)
    if name == "variants":
        return variants_table(results)
    if name in ("objectives", "second_student"):
        return recipes_table(results, name)
    if name == "mined":
        return mined_table(results)
    if name == "answer_objective":
        return answer_objective_table(results)
    if name == "labels":
        return labels_table(results)
    if name == "both_orders":
        return both_orders_table(json.loads((HERE / "both_orders.json").read_text(encoding="utf-8")))
    chosen = sorted((r for r in results if r["data"] == name), key=_place)
    if not chosen:
        return "No result yet.\n"
    commands = "\n".join(dict.fromkeys(r["command"] for r in chosen))
    return f"{results_table(chosen)}\n\n```sh\n{commands}\n```\n\n{_versions(chosen)}\n"


def _versions(results: list[dict[str, Any]]) -> str:
    """The versions of the packages; where runs differ, a line per build of torch (one with +cpu ran on a CPU) and its runs."""
    by_torch: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_torch.setdefault(result["versions"]["torch"], []).append(result)
    lines = []
    for runs in by_torch.values():
        versions = ", ".join(f"{package} {number}" for package, number in runs[0]["versions"].items())
        names = ", ".join(dict.fromkeys(run["name"] for run in runs))
        lines.append(versions if len(by_torch) == 1 else f"- {names}: {versions}")
    return "\n".join(lines)


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
    """F1 and AP on test, a row per system that has results; then flipped against what it is held against."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        found.setdefault((result["name"], result["data"]), []).append(result["metrics"]["test"])
    rows = []
    for name in MAIN_SYSTEMS:
        cells = [_means(found.get((name, data), [])) for data in MAIN_SETS]
        if set(cells) != {"-"}:
            rows.append([name, *cells])
    seeds = [str(len(found.get(("flipped", data), []))) for data in MAIN_SETS]
    header = ["F1 / AP on test", *MAIN_SETS]
    note = (
        "In points, with the 95 % interval of a paired bootstrap, p, and p after Holm's correction for the sets of a row. AP "
        "reads no threshold, so there is less luck in it:"
    )
    table = text_table(header, [*rows, ["seeds of flipped", *seeds]])
    return f"{table}\n\n{note}\n\n{text_table(['flipped minus', *MAIN_SETS], _differences())}\n"


def headline_table(results: list[dict[str, Any]]) -> str:
    """Average precision on test, a row per set: the systems of HEADLINE, and flipped minus each other with its interval."""
    found: dict[tuple[str, str], list[float]] = {}
    for result in results:
        value = result["metrics"]["test"]["average_precision"]
        found.setdefault((result["name"], result["data"]), []).append(value)
    rivals = [name for name in HEADLINE if name != "flipped"]
    stored = {data: _stored_differences(data) for data in MAIN_SETS}
    rows = []
    for data in MAIN_SETS:
        means = (found.get((name, data)) for name in HEADLINE)
        own = (_flipped_against(stored[data], name, "average_precision") for name in rivals)
        cells = ("-" if values is None else f"{np.mean(values):.3f}" for values in means)
        rows.append([data, *cells, *map(_interval, own)])
    header = ["AP on test", *HEADLINE.values(), *(f"flipkd minus {HEADLINE[name]}" for name in rivals)]
    measured = [column for column in range(len(header)) if {row[column] for row in rows} != {"-"}]
    header, *rows = ([row[column] for column in measured] for row in (header, *rows))
    lines = [
        _summary(name, [_flipped_against(stored[data], name, "average_precision") for data in MAIN_SETS])
        for name in rivals
    ]
    return f"{text_table(header, rows)}\n\n{chr(10).join(lines)}\n"


def _summary(rival: str, differences: list[dict[str, float] | None]) -> str:
    """One line: on how many sets the interval of flipped minus its rival lies above, around and below 0."""
    known = [d for d in differences if d is not None]
    if not known:
        return f"- flipkd minus {HEADLINE[rival]}: not measured on these sets yet."
    above, below = sum(d["low"] > 0 for d in known), sum(d["high"] < 0 for d in known)
    return (
        f"- flipkd minus {HEADLINE[rival]}: the interval is above 0 on {above} of {len(known)} sets, below 0 on {below}, "
        f"and contains 0 on {len(known) - above - below}."
    )


def _interval(found: dict[str, float] | None) -> str:
    """A difference in points with its 95 % interval."""
    if found is None:
        return "-"
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * found[key] for key in ("difference", "low", "high")))


def speed_table() -> str:
    """The ratios of SPEED: the median of the turns, and the lowest and highest turn."""
    rows, machine = [], ""
    for name, words in SPEED.items():
        found = json.loads((ROOT / "benchmarks" / "speed" / "results" / f"{name}.json").read_text(encoding="utf-8"))
        turns = found["ratios"]
        rows.append([words, f"{found['ratio']:.2f}", f"{min(turns):.2f} to {max(turns):.2f}", str(len(turns))])
        machine = f"{found['model']}; {found['processor']}, threads: {found['threads']}"
    return f"{text_table(['ratio', 'median', 'range of the turns', 'turns'], rows)}\n\n{machine}\n"


def _means(units: list[dict[str, float]]) -> str:
    metrics = METRICS if units else ()
    return " / ".join(f"{np.mean([unit[m] for unit in units]):.3f}" for m in metrics) or "-"


def _differences() -> list[list[str]]:
    """A row per reference and metric: flipped minus the reference on each set."""
    found = {data: _stored_differences(data) for data in MAIN_SETS}
    rows = []
    for name in REFERENCES:
        for metric, shown in zip(METRICS, ("F1", "AP"), strict=True):
            both = {data: _flipped_against(references, name, metric) for data, references in found.items()}
            own = {data: difference for data, difference in both.items() if difference is not None}
            for difference, value in zip(own.values(), holm([d["p_value"] for d in own.values()]), strict=True):
                difference["p_adjusted"] = float(value)
            if own:
                rows.append([f"{name}, {shown}", *(_difference(own.get(data)) for data in MAIN_SETS)])
    return rows


def _stored_differences(data: str) -> dict[str, list[dict[str, Any]]]:
    """Reference -> differences of the others from it, of one set."""
    path = DIFFERENCES / f"{data}.json"
    found: dict[str, list[dict[str, Any]]] = {}
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))["differences"]
    return found


def _flipped_against(references: dict[str, list[dict[str, Any]]], name: str, metric: str) -> dict[str, float] | None:
    """Flipped minus the reference `name`, or None where it was not measured."""
    return next((dict(row[metric]) for row in references.get(name, []) if row["name"] == "flipped"), None)


def ablations_table(results: list[dict[str, Any]]) -> str:
    """F1 and AP on test, of the seeds for which all systems were run, and the mean over the sets."""
    found = {(r["data"], r["name"], r["seed"]): r["metrics"]["test"] for r in results}
    seeds = {data: _common_seeds(found, data, ABLATIONS) for data in ABLATION_SETS}
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
    """F1 and AP on test of what differs from `flipped` in one thing, and of its controls; seed 0, a column per set."""
    systems = {"flipped", *CONTROLS[2:]}
    found = {(r["data"], r["name"]): r for r in results if r["seed"] == 0 and r["system"] in systems}
    recipe = yaml.safe_load((ROOT / "recipes" / "ablations" / f"{ABLATION_SETS[0]}.yaml").read_text(encoding="utf-8"))
    names = [n for n in recipe["systems"] if n.rpartition("_")[2] not in BUDGETS and n not in CONTROLS[:2]]
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


def scores_table(results: list[dict[str, Any]]) -> str:
    """AP on test of each score alone, a row per set, over the seeds that all systems have; then the means of the sets."""
    found = {(r["data"], r["name"], r["seed"]): r["by_score"] for r in results}
    rows, values = [], []
    for data in MAIN_SETS:
        seeds = _common_seeds(found, data, [name for name, _ in SCORES])
        if seeds:
            values.append(
                [
                    np.mean([found[data, name, seed][kind]["test"]["average_precision"] for seed in seeds])
                    for name, kind in SCORES
                ]
            )
            rows.append([data, str(len(seeds)), *(f"{value:.3f}" for value in values[-1])])
    rows.append(["mean", "", *(f"{value:.3f}" for value in np.mean(values, axis=0))])
    header = ["AP on test", "seeds", *(name if kind == "score" else f"{name}, {kind}" for name, kind in SCORES)]
    return f"{text_table(header, rows)}\n"


def pool_table(results: list[dict[str, Any]]) -> str:
    """F1 and AP on test of students of 300 labels, over the seeds that all have; a column per set."""
    found = {(r["data"], r["name"], r["seed"]): r["metrics"]["test"] for r in results}
    seeds = {data: _common_seeds(found, data, POOL) for data in POOL_SETS}
    rows = [
        [name, *(_means([found[data, name, seed] for seed in seeds[data]]) for data in POOL_SETS)] for name in POOL
    ]
    header = ["F1 / AP on test", *(f"{data}, seeds: {len(seeds[data])}" for data in POOL_SETS)]
    return f"{text_table(header, rows)}\n"


def _common_seeds(found: Iterable[tuple[str, str, int]], data: str, names: Iterable[str]) -> list[int]:
    """Return the seeds of a set that all the systems have."""
    wanted, known = set(names), set(found)
    return sorted({s for d, _, s in known if d == data and all((data, name, s) in known for name in wanted)})


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


def _difference(found: dict[str, float] | None) -> str:
    if found is None:
        return "-"
    difference, low, high = (100 * found[key] for key in ("difference", "low", "high"))
    adjusted = p_value(found, kind="p_adjusted").removeprefix("p ").removeprefix("= ")
    return f"{difference:+.1f} [{low:+.1f}, {high:+.1f}], {p_value(found)}, Holm {adjusted}"


def _place(result: dict[str, Any]) -> tuple[int, str, int]:
    from flipkd.comparison.systems import SYSTEMS

    order = [*SYSTEMS, PLUS]  # blends, whose system is their own name, behind all systems
    variant = result["name"] != result["system"]
    rank = order.index(PLUS if PLUS in result["system"] else result["system"]) + variant * len(order)
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
