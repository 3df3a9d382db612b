"""Summary of a comparison: results.json with all metrics, and report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flipkd.commands.results import command_line
from flipkd.comparison.scores import SCORES_HASH, read_scores, result_path, scores_path
from flipkd.comparison.systems import system_named
from flipkd.config import CompareConfig
from flipkd.data.labels import labels_of
from flipkd.data.pairs import sides_of
from flipkd.errors import ConfigError
from flipkd.files import write_json, write_text
from flipkd.report.comparison import Comparison, RunScores, summary_rows
from flipkd.report.losses import read_losses
from flipkd.training.metrics_file import METRICS


def write_summary(
    config: CompareConfig, sets: Mapping[str, Any], results: Sequence[Mapping[str, Any]], *, planned: int
) -> str:
    """Write `results.json` (summary, paired differences, every run) and `report.html` into the output folder.

    Returns a sentence with the path of the report, or with the reason why there is none: it needs the extra `report`.
    """
    comparison = _comparison(config, sets, results, planned=planned)
    output_dir = Path(config.output_dir)
    values = {
        "data": config.data,
        "command": comparison.command,
        "pairs": comparison.counts,
        "summary": summary_rows(comparison),
        "differences": comparison.differences,
        "units": list(results),
    }
    write_json(output_dir / "results.json", values)
    try:
        from flipkd.report.page import render

        page = render(comparison)
    except ConfigError as error:
        return f"no report.html: {error}"
    return f"report: {write_text(output_dir / 'report.html', page)}"


def _comparison(
    config: CompareConfig, sets: Mapping[str, Any], results: Sequence[Mapping[str, Any]], *, planned: int
) -> Comparison:
    runs = []
    for result in results:
        path = scores_path(result_path(config.output_dir, config.data, result["name"], result["seed"]))
        scores = read_scores(path, sha256=result.get(SCORES_HASH))
        runs.append(
            RunScores(
                name=result["name"],
                system=system_named(result["system"]),
                seed=result["seed"],
                result=result,
                validation={kind: split.validation for kind, split in scores.items()},
                test={kind: split.test for kind, split in scores.items()},
                losses=_losses(config, result),
            )
        )
    text1, text2 = sides_of(sets["test"])
    labels = {name: labels_of(dataset) for name, dataset in sets.items()}
    return Comparison(
        data=config.data,
        runs=runs,
        text1=text1,
        text2=text2,
        label=labels["test"],
        validation_label=labels["validation"],
        counts={name: {"pairs": len(label), "positives": int((label == 1).sum())} for name, label in labels.items()},
        command=command_line(),
        planned=planned,
    )


def _losses(config: CompareConfig, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not result.get("matcher"):
        return []
    objectives = result["identity"]["train"]["objectives"]
    return read_losses((Path(config.output_dir) / result["matcher"]).with_name(METRICS), objectives)
