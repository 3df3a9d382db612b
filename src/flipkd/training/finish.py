"""Make a matcher folder of a trained student: validation chooses the score, its calibration and its threshold."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flipkd.cards.matcher_card import LearnedFrom, model_card
from flipkd.config import TrainConfig
from flipkd.data.pair_table import PairTable
from flipkd.evaluate.calibration import AUTO, fit_calibration
from flipkd.evaluate.cascade import fit_cascade
from flipkd.evaluate.combine import weighted_sum
from flipkd.evaluate.decisions import one_decision
from flipkd.evaluate.metrics import measure
from flipkd.evaluate.thresholds import best_threshold
from flipkd.files import check_manifest, new_folder, write_json, write_text
from flipkd.student.contract import BaseRate, CascadeBand, GoldenPair, KeptTeacher, ScoreContract
from flipkd.student.golden import golden_pair
from flipkd.student.model import Student
from flipkd.student.scoring import score_pairs
from flipkd.training.metrics_file import METRICS
from flipkd.training.readouts import KeepableTeacher, choose_readouts, summary

logger = logging.getLogger(__name__)
MATCHER = "matcher"
VALIDATION = "validation.json"  # metrics of the finished matcher
CASCADE_LOSS = 0.005  # of F1 on validation, at most
CHANCE = 0.55  # ROC AUC below which a warning is logged; chance is 0.5


class Measured(NamedTuple):
    """All that the passes of a trained student give: its scores of the labelled validation pairs, and the golden pair."""

    scores: dict[str, Any]
    """Kind -> [N]; with a teacher also its scores."""
    labels: NDArray[np.int64]
    texts: tuple[list[str], list[str]]
    seconds: float
    """For one pair."""
    golden: GoldenPair


@dataclass(frozen=True)
class Validation:
    """The validation pairs of a run, on which its student is measured; `with_teacher`: also with the teacher's scores."""

    student: Student
    config: TrainConfig
    table: PairTable
    return_embeddings: bool
    with_teacher: bool

    def precision(self) -> float:
        """Return the average precision of the score that a matcher of the student's weights would get."""
        found, labels, _, _ = self._scores()
        choice = choose_readouts(found, labels, self.config)
        return choice.precision[choice.parts]

    def measure(self) -> Measured:
        """Run the trained student on these pairs and on the golden pair."""
        return Measured(*self._scores(), golden_pair(self.student))

    def _scores(self) -> tuple[dict[str, Any], NDArray[np.int64], tuple[list[str], list[str]], float]:
        """Return scores [N] by kind, labels [N] and texts of the labelled pairs, and the seconds per pair."""
        known = self.table.labelled()
        texts = list(known.left), list(known.right)
        start = time.perf_counter()
        scored = score_pairs(
            self.student,
            *texts,
            batch_size=self.config.per_device_eval_batch_size,
            return_embeddings=self.return_embeddings,
            progress="validation",
        )
        seconds, found = (time.perf_counter() - start) / max(len(known), 1), scored.kinds
        if self.with_teacher and known.teacher is not None:
            found["teacher"] = known.teacher.pair_scores()
        return found, known.label, texts, seconds


def write_matcher(
    student: Student,
    contract: ScoreContract,
    config: TrainConfig,
    *,
    measured: Measured,
    learned_from: LearnedFrom,
    teacher: Callable[[], KeepableTeacher] | None = None,
) -> Path:
    """Choose score, calibration and threshold on validation, and write the matcher folder atomically; return its path.

    `learned_from` is for its card. `teacher` loads the teacher; it is called if the matcher keeps it, where a sum with its
    score is best (`keep_teacher`); it then also gets the bounds of a cascade that loses at most CASCADE_LOSS.
    """
    found, labels, texts, seconds, golden = measured
    choice = choose_readouts(found, labels, config)
    kept = teacher() if teacher is not None and "teacher" in choice.parts else None
    scores = weighted_sum(found, choice.weights).astype(np.float32)  # the dtype of a matcher's scores
    calibration = fit_calibration(scores, labels, method=AUTO if choice.parts == ("answer",) else "sigmoid")
    threshold = best_threshold(scores, labels).value
    contract = contract.model_copy(
        update={
            "score": choice.weights,
            "calibration": asdict(calibration),
            "base_rate": BaseRate(rate=float(labels.mean()), pairs=len(labels)),
            "threshold": threshold,
            "golden": golden,
        }
    )
    cascade = None
    if kept is not None:
        cascade = fit_cascade(
            found["teacher"], scores, labels, threshold=threshold, calibration=calibration, loss=CASCADE_LOSS
        )
    metrics = measure(scores, labels, threshold=threshold, probabilities=calibration.apply(scores))
    _warn_of_failure(metrics, scores, config)
    write_json(Path(config.output_dir) / VALIDATION, metrics)
    folder = Path(config.output_dir) / MATCHER
    with new_folder(folder, replace=True) as temporary:
        if kept is not None:
            band = CascadeBand(**asdict(cascade.cascade)) if cascade and cascade.cascade else None
            update = {"teacher": KeptTeacher(**kept.save(temporary)), "cascade": band}
            contract = contract.model_copy(update=update)
        student.save(temporary, contract)
        source = kept.source if kept else None
        card = model_card(config, contract, metrics=metrics, learned_from=learned_from, kept=source)
        write_text(temporary / "README.md", card)
    logger.warning(summary(choice, kept, cascade, seconds=seconds, texts=texts))
    return folder


def _warn_of_failure(metrics: dict[str, float], scores: np.ndarray, config: TrainConfig) -> None:
    """Log a warning if the student is no better than chance, or if all pairs get the same decision."""
    if metrics["roc_auc"] < CHANCE:
        logger.warning(
            "the trained student is no better than chance on validation (ROC AUC %.2f): it had too few pairs or epochs, or the "
            "training broke down; train longer, or lower learning_rate (now %g), and see the losses in %s",
            metrics["roc_auc"],
            config.learning_rate,
            Path(config.output_dir) / METRICS,
        )
    if warning := one_decision(scores, metrics["threshold"]):
        logger.warning("validation: %s", warning)


def finished(config: TrainConfig) -> Path | None:
    """Return the matcher folder if this run was finished before, else None. Raises ArtefactError for a damaged one."""
    folder = Path(config.output_dir) / MATCHER
    if not folder.exists():
        return None
    check_manifest(folder)
    return folder
