"""Refit the calibration and the thresholds of a matcher on labelled pairs, for a given target."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flipkd import __version__
from flipkd.cards.sections import read_card, replace_decisions
from flipkd.command_config import CalibrateConfig
from flipkd.commands.base_rate import shift_contract, warn_of_base_rate
from flipkd.commands.pairs import is_directed, labelled_pairs
from flipkd.data.labels import labels_of
from flipkd.data.pairs import pairs_of
from flipkd.errors import ConfigError
from flipkd.evaluate.calibration import AUTO, Calibration, fit_calibration
from flipkd.evaluate.cascade import check_loss, fit_cascade
from flipkd.evaluate.decisions import MATCH, NO_MATCH, decide, measure_decisions, one_decision, share_interval
from flipkd.evaluate.targets import Target
from flipkd.files import CARD, copy_listed, new_folder, write_text
from flipkd.progress import loading
from flipkd.student.contract import FORMAT, BaseRate, CascadeBand, ScoreContract, find_matcher

logger = logging.getLogger(__name__)


def calibrate(config: CalibrateConfig) -> dict[str, Any]:
    """Write the matcher to `config.output_dir` with a calibration, a threshold and a review band fitted on these pairs.

    With `base_rate` all three are those for future pairs with that share of matches; the metrics are those of these pairs.
    Returns the metrics on the same pairs, and the intervals of the precision and of the share of matches that are kept. The
    input matcher is not changed. Raises ConfigError for an unknown target and for a cascade of a matcher without a kept
    teacher or with a base rate, ResourceError when `output_dir` exists, DataError for too few labels or an unreachable target.
    """
    if config.cascade is not None:
        check_loss(config.cascade)
        if config.base_rate is not None:
            raise ConfigError(
                "a cascade is fitted to the base rate of the labelled pairs; give --cascade or --base_rate, not both"
            )
    threshold, review = Target.parse(config.threshold), Target.parse(config.review) if config.review else None
    folder = find_matcher(config.matcher)
    dataset = _load_pairs(config, folder)
    labels = labels_of(dataset)
    with new_folder(config.output_dir) as temporary:  # raises before the pairs are scored when the folder exists
        loading(config.matcher)
        from flipkd.matcher import Matcher

        loaded = Matcher.from_pretrained(folder, base_model=config.base_model)
        old_formula = loaded.contract.formula
        loaded.contract = loaded.contract.model_copy(update=_changes(config))
        pairs = pairs_of(dataset)
        # First, because it raises when no teacher is kept, before the student scores the pairs.
        teacher = None if config.cascade is None else loaded.teacher_scores(pairs, batch_size=config.batch_size)
        scores = loaded.predict(pairs, batch_size=config.batch_size, show_progress_bar=True)
        contract, report = _fit(config, loaded.contract, scores, labels, targets=(threshold, review), teacher=teacher)
        copy_listed(folder, temporary)
        contract.save(temporary)
        card = read_card(folder).replace(f"score = {old_formula}.", f"score = {contract.formula}.")
        write_text(temporary / CARD, replace_decisions(card, contract, metrics=report["metrics"]))
    alike = one_decision(scores, report["metrics"]["threshold"])
    _warn(report, alike, dropped=loaded.review_threshold is not None and review is None)
    if loaded.contract.cascade is not None and config.cascade is None:
        logger.warning(
            "%s has no cascade, since that of %s is for its own threshold; give --cascade, for example --cascade 0.005, "
            "to fit one",
            config.output_dir,
            config.matcher,
        )
    return report


def _fit(
    config: CalibrateConfig,
    contract: ScoreContract,
    scores: np.ndarray,
    labels: np.ndarray,
    *,
    targets: tuple[Target, Target | None],
    teacher: np.ndarray | None,
) -> tuple[ScoreContract, dict[str, Any]]:
    """Return the contract fitted on scores [N] and labels [N] for the targets of both thresholds, and the report."""
    if config.base_rate is None:
        warn_of_base_rate(contract.base_rate, labels)
    threshold, review = targets
    contract = fit_contract(contract, scores, labels, threshold=threshold, review=review, base_rate=config.base_rate)
    report = figures(contract, scores, labels)
    if config.base_rate is not None:
        contract, report["base_rate"] = shift_contract(contract, scores, labels, base_rate=config.base_rate)
    if config.cascade is not None and teacher is not None:
        contract, report["cascade"] = add_cascade(contract, teacher, scores, labels, loss=config.cascade)
    return contract, report


def _changes(config: CalibrateConfig) -> dict[str, Any]:
    """Return the fields of the contract that the settings change before the pairs are scored."""
    changes: dict[str, Any] = {} if config.symmetric is None else {"symmetric": config.symmetric}
    return changes if config.score is None else changes | {"score": {config.score: 1.0}}


def _load_pairs(config: CalibrateConfig, folder: Path) -> Any:
    """Load the labelled pairs of the file as the matcher in `folder` needs them."""
    directed = is_directed(folder)
    if directed and config.symmetric:
        raise ConfigError(
            f"{config.matcher}: was trained with directed=true, so a pair and its swapped pair may differ in their label; "
            "leave --symmetric out"
        )
    return labelled_pairs(config.validation_file, columns=config.columns, directed=directed)


def _warn(report: dict[str, Any], alike: str, *, dropped: bool) -> None:
    metrics = report["metrics"]
    if metrics["roc_auc"] <= 0.5:
        logger.warning("these scores rank the pairs no better than chance (ROC AUC %.2f)", metrics["roc_auc"])
    if alike:
        logger.warning(alike)
    if dropped:
        logger.warning("the new matcher has no review band; give --review to fit one")


def fit_contract(
    contract: ScoreContract,
    scores: np.ndarray,
    labels: np.ndarray,
    *,
    threshold: Target,
    review: Target | None,
    base_rate: float | None = None,
) -> ScoreContract:
    """Return the contract with calibration, threshold and review threshold fitted on scores [N] and labels [N].

    `base_rate`: share of matches for which the thresholds reach their targets; the calibration is for that of the labels.
    """
    # As in training: an answer of 0 may mean even odds; a cosine or a sum of 0 does not. Nor does it when the base rate changes.
    method = AUTO if set(contract.score) == {"answer"} and base_rate is None else "sigmoid"
    calibration = fit_calibration(scores, labels, method=method)
    if calibration.is_flat(scores):
        logger.warning(
            "every pair gets a probability of about %.2g: on these pairs matches do not have higher scores",
            calibration.apply(scores).mean(),
        )
    cut = threshold.fit(scores, labels, base_rate=base_rate).value
    below = review.fit(scores, labels, base_rate=base_rate).value if review else None
    if below is not None and below >= cut:
        if review is None or review.metric != "recall":
            raise ConfigError(
                f"the review band would begin at {below:.4g}, but a score of {cut:.4g} is already a match; it must begin "
                "below that: give --review a recall, as recall=0.99, or a lower score"
            )
        logger.warning("no pair needs review: the match threshold %.4g already reaches that recall", cut)
        below = None
    return contract.model_copy(
        update={
            "format": FORMAT,
            "flipkd_version": __version__,
            "calibration": asdict(calibration),
            "base_rate": BaseRate(rate=float(np.mean(labels)), pairs=len(labels)),
            "threshold": cut,
            "review_threshold": below,
            "cascade": None,  # its band was fitted to the old scores and threshold
        }
    )


def add_cascade(
    contract: ScoreContract, teacher: np.ndarray, scores: np.ndarray, labels: np.ndarray, *, loss: float
) -> tuple[ScoreContract, dict[str, float]]:
    """Return the contract with a cascade band for this loss of F1, and the teacher's share, F1 with and without the cascade.

    teacher, scores, labels: [N]. Logs a warning and adds no band when the teacher can decide no pair at this loss.
    """
    fit = fit_cascade(
        teacher,
        scores,
        labels,
        threshold=contract.threshold or 0.0,
        calibration=Calibration.of(contract.calibration),
        loss=loss,
    )
    if fit.cascade is None:
        logger.warning(
            "the teacher can decide no pair alone at a loss of %g F1; allow a larger loss for a cascade", loss
        )
    else:
        contract = contract.model_copy(update={"cascade": CascadeBand(**asdict(fit.cascade))})
    return contract, {"share": fit.share, "f1": fit.f1, "f1_all_read": fit.f1_all_read}


def figures(contract: ScoreContract, scores: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Measure scores [N] under the contract: metrics, and intervals of the precision and of the share of matches kept.

    A match is kept when it is decided as a match or goes to review.
    """
    threshold, below = contract.threshold or 0.0, contract.review_threshold
    probabilities = Calibration.of(contract.calibration).apply(scores)
    metrics = measure_decisions(
        scores, labels, threshold=threshold, review_threshold=below, probabilities=probabilities
    )
    decided = np.array(decide(scores, threshold=threshold, review_threshold=below))
    hit, kept = labels[decided == MATCH], decided[labels == 1] != NO_MATCH
    return {
        "metrics": metrics,
        "precision": {"hits": int(hit.sum()), "n": len(hit), "interval": share_interval(int(hit.sum()), len(hit))},
        "kept": {"hits": int(kept.sum()), "n": len(kept), "interval": share_interval(int(kept.sum()), len(kept))},
    }
