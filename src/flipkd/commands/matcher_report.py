"""HTML report of one matcher."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flipkd.commands.results import command_line
from flipkd.data.labels import labels_of
from flipkd.data.pairs import sides_of
from flipkd.errors import ArtefactError
from flipkd.files import read_json, write_text
from flipkd.report.comparison import Comparison, RunScores
from flipkd.report.losses import read_losses
from flipkd.report.page import render
from flipkd.report.system import System
from flipkd.run_lock import RUN
from flipkd.student.contract import matcher_name

if TYPE_CHECKING:
    from flipkd.matcher import Matcher

COLOUR = "#009e73"


def write_report(
    path: Path,
    matcher: Matcher,
    dataset: Any,
    scores: NDArray[np.floating],
    metrics: Mapping[str, float],
    *,
    folder: Path,
    data: str,
) -> Path:
    """Write the HTML report of a matcher's scores [N] on labelled pairs."""
    thresholds = {"threshold": matcher.threshold, "review_threshold": matcher.review_threshold}
    label = labels_of(dataset)
    name = matcher_name(folder)
    run = RunScores(
        name=name,
        system=System(name=name, label=f"The matcher in {folder}.", colour=COLOUR, compared_with=()),
        seed=0,
        result={
            "score": "score",
            "by_score": {"score": {"validation": thresholds, "test": metrics}},
            "matcher": Path(os.path.relpath(folder, path.parent)).as_posix(),
        },
        validation={"score": np.zeros(0)},
        test={"score": np.asarray(scores, np.float64)},
        probability=np.asarray(matcher.calibration.apply(scores), np.float64),
        losses=_losses(folder.parent),
    )
    text1, text2 = sides_of(dataset)
    comparison = Comparison(
        data=data,
        runs=[run],
        text1=text1,
        text2=text2,
        label=label,
        validation_label=np.zeros(0, np.int64),
        counts={"test": {"pairs": len(label), "positives": int((label == 1).sum())}},
        command=command_line(),
    )
    return write_text(path, render(comparison))


def _losses(run: Path) -> list[dict[str, Any]]:
    """Read the losses of the training run when the matcher is still in its run folder."""
    from flipkd.training.metrics_file import METRICS

    try:
        objectives = read_json(run / RUN)["config"]["objectives"]
    except (ArtefactError, KeyError, TypeError):
        return []
    return read_losses(run / METRICS, objectives)
