"""Simulate data without drift, and experiments looked at after each outcome; fill the tables of docs/watch.md and docs/ab.md.

python benchmarks/watch/simulate.py --run        simulate (minutes), then write the tables
python benchmarks/watch/simulate.py              write the tables of the stored results
python benchmarks/watch/simulate.py --check      exit 1 when a page is not what the results say
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULT = HERE / "results.json"
PAGES = {"false alarms": ROOT / "docs" / "watch.md", "peeking": ROOT / "docs" / "ab.md"}
ALPHAS = (0.01, 0.05, 0.1, 0.2)
WINDOWS = (100, 250, 800)  # rows
EXPERIMENTS = [  # success rates, share of the treatment, outcomes
    (0.3, 0.3, 0.5, 3000),
    (0.3, 0.3, 0.1, 3000),
    (0.03, 0.03, 0.5, 3000),
    (0.3, 0.35, 0.5, 5000),
    (0.3, 0.4, 0.5, 5000),
]


def false_alarms(runs: int) -> dict[str, Any]:
    """Count the runs with an alarm among pairs of samples of one source, with no least effect."""
    sys.path.append(str(ROOT / "tests"))
    from watch.drifting import draw, embed

    from flipkd.watch.drift import LEAST_EFFECTS, compare, judge

    none, count = dict.fromkeys(LEAST_EFFECTS, 0.0), dict.fromkeys(ALPHAS, 0)
    for run in range(runs):
        reference, window = draw(2 * run, 400), draw(2 * run + 1, WINDOWS[run % 3], labelled=0.5)
        checks = compare(reference, window, embed=embed, resamples=4999)
        for alpha in ALPHAS:
            [judged] = judge([checks], alpha=alpha, together=True, least_effects=none)
            count[alpha] += any(check.alarm for check in judged)
    return {"runs": runs, "alarms": {str(alpha): number for alpha, number in count.items()}}


def peeking(runs: int) -> list[dict[str, Any]]:
    """Share of experiments that were decided at some outcome, when that was, and the width of the last interval."""
    from flipkd.watch.sequential import sequential_test, treatment_scores

    rows = []
    for control, treatment, share, outcomes in EXPERIMENTS:
        found = []
        for run in range(runs):
            generator = np.random.default_rng(run)
            treated = generator.random(outcomes) < share
            outcome = (generator.random(outcomes) < np.where(treated, treatment, control)).astype(float)
            scores = treatment_scores(outcome, treated, share=share)
            found.append(sequential_test(scores, share=share, alpha=0.05))
        variance = treatment * (1 - treatment) / share + control * (1 - control) / (1 - share)
        once = 2 * 1.96 * np.sqrt(variance / outcomes)
        decided = sorted(one.decided_at for one in found if one.decided_at)
        rows.append(
            {
                "rates": [control, treatment],
                "share": share,
                "outcomes": outcomes,
                "runs": runs,
                "decided": len(decided),
                "half_decided_by": decided[runs // 2 - 1] if len(decided) >= runs / 2 else None,
                "width": float(np.mean([one.high - one.low for one in found]) / once),
            }
        )
    return rows


def tables(result: dict[str, Any]) -> dict[str, str]:
    """The text between the marks of each page."""
    alarms = result["false alarms"]
    first = [
        "| `--alpha` | runs with an alarm |",
        "| --: | --: |",
        *(
            f"| {alpha} | {count / alarms['runs']:.1%} of {alarms['runs']} |".replace("%", " %")
            for alpha, count in alarms["alarms"].items()
        ),
    ]
    second = [
        "| success rates | share | outcomes | runs decided | half of all runs by outcome | width against one look |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for row in result["peeking"]:
        control, treatment = row["rates"]
        decided = f"{row['decided'] / row['runs']:.1%} of {row['runs']}".replace("%", " %")
        half = f"{row['half_decided_by']:,}" if row["half_decided_by"] else ""
        second.append(
            f"| {control} and {treatment} | {row['share']} | {row['outcomes']:,} | {decided} | {half} | {row['width']:.1f} |"
        )
    return {"false alarms": "\n".join(first) + "\n", "peeking": "\n".join(second) + "\n"}


def main() -> None:
    """Simulate if asked, then write or check the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="simulate")
    parser.add_argument("--runs", type=int, default=200, help="runs of each simulation")
    parser.add_argument("--check", action="store_true", help="only compare the pages with the results")
    arguments = parser.parse_args()
    if arguments.run:
        result = {"false alarms": false_alarms(arguments.runs), "peeking": peeking(arguments.runs)}
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, text in tables(json.loads(RESULT.read_text(encoding="utf-8"))).items():
        page = PAGES[name].read_text(encoding="utf-8")
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        new = page.partition(start)[0] + start + text + end + page.partition(end)[2]
        if arguments.check and new != page:
            raise SystemExit(
                f"{PAGES[name].name} is not what the results say; run python benchmarks/watch/simulate.py"
            )
        PAGES[name].write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
