"""evaluate: a matcher's metrics on labelled pairs, at the threshold that validation chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from flipkd.evaluate.decisions import measure_decisions
from flipkd.files import write_json
from flipkd.report.page import require_installed
from flipkd.stages.matcher_report import write_report
from flipkd.stages.pairs import is_directed, labelled, labels_of, trainable_pairs
from flipkd.stages.results import require_writable
from flipkd.student.contract import matcher_folder


def evaluate(
    matcher: str,
    test_file: str,
    *,
    columns: dict[str, str] | None = None,
    base_model: str | None = None,
    output: str | None = None,
    batch_size: int | None = None,
    cascade: bool = False,
    report: str | None = None,
) -> dict[str, Any]:
    """Metrics of a matcher folder on a file of labelled pairs; also written to `output` as JSON when it is given.

    `report`: an HTML file for the page that a comparison has as well; the drawing libraries are an extra.
    `cascade`: its teacher decides the pairs on which it is sure enough; `by_teacher` is their share. Raises ConfigError
    for a matcher that has no band for it.
    """
    for path in filter(None, (output, report)):
        require_writable(path, source=test_file)
    if report:
        require_installed()
    pairs_found = trainable_pairs(test_file, columns=columns, name="test", directed=is_directed(matcher))
    dataset = labelled(pairs_found, name="test")
    from flipkd.matcher import Matcher  # brings torch: only once the pairs are known to be good

    loaded = Matcher.from_pretrained(matcher, base_model=base_model)
    pairs = list(zip(dataset["text1"][:], dataset["text2"][:], strict=True))
    if cascade:
        scores, read = loaded.cascade(pairs, batch_size=batch_size, show_progress_bar=True)
    else:
        scores = loaded.predict(pairs, batch_size=batch_size, show_progress_bar=True)
    metrics = measure_decisions(
        scores,
        labels_of(dataset),
        threshold=loaded.threshold,
        review_threshold=loaded.review_threshold,
        probabilities=loaded.calibration.apply(scores),
    )
    if cascade:
        metrics["by_teacher"] = float(np.mean(~read))
    if report:
        write_report(
            Path(report), loaded, dataset, scores, metrics, folder=matcher_folder(matcher), data=Path(test_file).stem
        )
    if output:
        write_json(Path(output), {"matcher": matcher, "test_file": test_file, "metrics": metrics})
    return metrics
