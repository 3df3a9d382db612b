"""Evaluate a matcher on labelled pairs at its threshold."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flipkd.cards.sections import add_test, read_card
from flipkd.command_config import EvaluateConfig
from flipkd.commands.matcher_report import write_report
from flipkd.commands.memory import Memory
from flipkd.commands.pairs import is_directed, labelled_pairs, normalised
from flipkd.commands.results import REPORT, require_writable
from flipkd.data.labels import labels_of
from flipkd.data.pairs import pairs_of, sides_of
from flipkd.errors import UsageError
from flipkd.evaluate.calibration import fit_calibration
from flipkd.evaluate.decisions import measure_decisions, one_decision
from flipkd.evaluate.fidelity import fidelity
from flipkd.evaluate.metrics import measure
from flipkd.extras import require_extra
from flipkd.files import CARD, write_json, write_text
from flipkd.progress import loading
from flipkd.student.contract import find_matcher, matcher_name

if TYPE_CHECKING:
    from flipkd.matcher import Matcher
    from flipkd.student.scoring import Floats

logger = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Return the metrics of a matcher folder on a file of labelled pairs.

    `output`: JSON file for the metrics. `report`: HTML file for the report, which needs the extra `report`. `card`: the
    metrics are also written into the matcher's README.md. `teacher`: folder of a teacher, or of a matcher, to compare with
    (`teacher_agreement` and the others of `evaluate.fidelity`); a matcher has a calibration, the scores of a teacher get one
    on these pairs. `cascade`: the kept teacher decides the clear pairs; the metrics
    are then those of the cascade, with its share, what it loses and its speed. `memory`: labels of reviewed pairs come before
    the scores; `by_memory` is their share. Raises ConfigError for a matcher without a cascade band, UsageError for the card of
    a matcher of the hub.
    """
    _require_settings(config)
    folder = find_matcher(config.matcher)
    if config.card:
        require_writable(folder / CARD)
    directed = is_directed(folder)
    dataset = labelled_pairs(config.test_file, columns=config.columns, directed=directed)
    loading(config.matcher)
    from flipkd.matcher import Matcher  # imports torch: only after the pairs are checked

    loaded = Matcher.from_pretrained(folder, base_model=config.base_model, exact=config.exact)
    pairs = pairs_of(dataset)
    known = None if config.memory is None else Memory(config.memory, directed=directed).labels(pairs)
    scores, compared = _scores(loaded, pairs, labels_of(dataset), config, known=known)
    metrics = measure_decisions(
        scores,
        labels_of(dataset),
        threshold=loaded.threshold,
        review_threshold=loaded.review_threshold,
        probabilities=loaded.calibration.apply(scores),
    )
    if warning := one_decision(scores, metrics["threshold"]):
        logger.warning(warning)
    metrics |= compared
    if config.teacher:
        metrics |= _fidelity(config.teacher, loaded.calibration.apply(scores), dataset)
    if known is not None:
        metrics["by_memory"] = float(np.mean(known >= 0))
    if config.report:
        name = Path(config.test_file).stem
        write_report(Path(config.report), loaded, dataset, scores, metrics, folder=folder, data=name)
    if config.card:
        _add_to_card(folder, metrics, test_file=config.test_file)
    if config.output:
        about = {"matcher": config.matcher, "test_file": config.test_file}
        write_json(Path(config.output), {**about, "metrics": metrics})
    return metrics


def _require_settings(config: EvaluateConfig) -> None:
    """Raise, before anything is read, for a result that cannot be written."""
    for path, mark in ((config.output, '"metrics"'), (config.report, REPORT)):
        if path:
            require_writable(path, source=config.test_file, mark=mark)
    if config.card and not Path(config.matcher).exists():
        raise UsageError("--card writes into a local matcher folder; give that folder as the matcher")
    if config.report:
        require_extra("report", user="the report")


def _scores(
    loaded: Matcher,
    pairs: list[tuple[str, str]],
    labels: NDArray[np.int64],
    config: EvaluateConfig,
    *,
    known: NDArray[np.int64] | None,
) -> tuple[Floats, dict[str, float]]:
    """Score the pairs; for a cascade also by the language model alone, to return share, loss of F1 and seconds of both.

    known: labels [N] of the memory, which decide before any model; -1 for a pair that it does not have.
    """

    def decided(scores: Floats) -> Floats:
        return scores if known is None else np.where(known < 0, scores, Memory.scores(known, loaded))

    options: dict[str, Any] = {"batch_size": config.batch_size, "show_progress_bar": True}
    if not config.cascade:
        return decided(loaded.predict(pairs, **options)), {}
    loaded.cascade(pairs[:1])  # raises without a band, and warms up the teacher
    start = time.perf_counter()
    scores, by_llm = loaded.cascade(pairs, **options)
    middle = time.perf_counter()
    all_read = decided(loaded.predict(pairs, **options))
    end = time.perf_counter()
    scores, by_teacher = decided(scores), ~by_llm if known is None else ~by_llm & (known < 0)
    f1, f1_all_read = (measure(found, labels, threshold=loaded.threshold)["f1"] for found in (scores, all_read))
    return scores, {
        "by_teacher": float(np.mean(by_teacher)),
        "f1_all_read": f1_all_read,
        "f1_lost": f1_all_read - f1,
        "seconds": middle - start,
        "seconds_all_read": end - middle,
    }


def _fidelity(folder: str, probabilities: NDArray[np.float64], dataset: Any) -> dict[str, float]:
    """Compare the matcher with a teacher: a matcher has a calibration, scores of a teacher folder get one on these pairs."""
    from flipkd.commands.matcher_teacher import MatcherTeacher, is_matcher
    from flipkd.teachers.stored_teacher import StoredTeacher

    if is_matcher(folder):
        other = MatcherTeacher(folder, validation=None).probabilities(*sides_of(dataset))
    else:
        scores = StoredTeacher(folder).signal(normalised(dataset)).pair_scores()
        other = fit_calibration(scores, labels_of(dataset), method="sigmoid").apply(scores)
    found = fidelity(probabilities, other)
    return {f"teacher_{name}": value for name, value in found.items() if np.isfinite(value)}


def _add_to_card(folder: Path, metrics: dict[str, Any], *, test_file: str) -> None:
    """Write the metrics into the card under the name of the file, or the id of a data set of the hub."""
    data = Path(test_file).stem if Path(test_file).exists() else test_file.partition(":")[0]
    card = read_card(folder)
    numbers = {name: float(value) for name, value in metrics.items() if value is not None}
    write_text(folder / CARD, add_test(card, model=matcher_name(folder), data=data, metrics=numbers))
