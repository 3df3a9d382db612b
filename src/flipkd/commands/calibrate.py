"""calibrate: a finished matcher's probabilities and decisions, fitted anew on labelled pairs and to a target of one's own."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flipkd import __version__
from flipkd.command_config import CalibrateConfig
from flipkd.commands.pairs import checked_pairs, is_directed, labelled, labels_of
from flipkd.errors import ConfigError
from flipkd.evaluate.calibration import AUTO, Calibration, fit_calibration
from flipkd.evaluate.cascade import check_loss, fit_cascade
from flipkd.evaluate.decisions import MATCH, NO_MATCH, decide, measure_decisions, one_decision, share_interval
from flipkd.evaluate.targets import Target
from flipkd.extras import require_extra
from flipkd.files import CARD, MANIFEST, new_folder, read_json, write_text
from flipkd.progress import loading

if TYPE_CHECKING:
    from flipkd.student.contract import ScoreContract

logger = logging.getLogger(__name__)


def calibrate(config: CalibrateConfig) -> dict[str, Any]:
    """Write the matcher to `config.output_dir` with a calibration, a threshold and a review band that these pairs choose.

    Returns the metrics on these very pairs, and the intervals of precision and of
    the matches that are not lost. The matcher it starts from stays as it is. Raises ConfigError for other words and for
    a cascade of a matcher that keeps no teacher, ResourceError when `output_dir` exists, DataError for too few labels or
    a target that cannot be reached.
    """
    require_extra("train", user="flipkd calibrate")
    if config.cascade is not None:
        check_loss(config.cascade)
    threshold, review = Target.parse(config.threshold), Target.parse(config.review) if config.review else None
    dataset = _pairs_for(config)
    labels = labels_of(dataset)
    with new_folder(config.output_dir) as temporary:  # refused before the pairs are scored
        loading(config.matcher)
        from flipkd.matcher import Matcher
        from flipkd.student.contract import matcher_folder
        from flipkd.training.card import with_decisions

        loaded = Matcher.from_pretrained(config.matcher, base_model=config.base_model)
        if config.symmetric is not None:
            loaded.contract = loaded.contract.model_copy(update={"symmetric": config.symmetric})
        pairs = list(zip(dataset["text1"][:], dataset["text2"][:], strict=True))
        # Refused before the student reads them.
        teacher = None if config.cascade is None else loaded.teacher_scores(pairs, batch_size=config.batch_size)
        scores = loaded.predict(pairs, batch_size=config.batch_size, show_progress_bar=True)
        contract = fitted(loaded.contract, scores, labels, threshold=threshold, review=review)
        report = figures(contract, scores, labels)
        if config.cascade is not None and teacher is not None:
            contract, report["cascade"] = with_cascade(contract, teacher, scores, labels, loss=config.cascade)
        card = _copied(matcher_folder(config.matcher), temporary)
        contract.save(temporary)
        write_text(temporary / CARD, with_decisions(card, contract, metrics=report["metrics"]))
    alike = one_decision(scores, report["metrics"]["threshold"])
    _warn(report, alike, dropped=loaded.review_threshold is not None and review is None)
    if loaded.contract.cascade is not None and config.cascade is None:
        logger.warning("the matcher's cascade is dropped; give --cascade to fit one")
    return report


def _pairs_for(config: CalibrateConfig) -> Any:
    """The labelled pairs of the file, read as this matcher needs them."""
    directed = is_directed(config.matcher)
    if directed and config.symmetric:
        raise ConfigError(
            f"{config.matcher}: was trained with directed=true, on pairs whose order means something: a mean over both "
            "orders would mix two questions; leave --symmetric out"
        )
    found = checked_pairs(config.validation_file, columns=config.columns, name="validation", directed=directed)
    return labelled(found, name="validation")


def _copied(folder: Path, target: Path) -> str:
    """Copy a matcher's files, as its manifest lists them; returns the text of its card, which is not copied."""
    for name in read_json(folder / MANIFEST)["files"]:  # what else lies there is none of the matcher
        if name != CARD:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, target / name)  # the bytes alone: the folder may be read-only
    card = folder / CARD
    return card.read_text(encoding="utf-8") if card.exists() else ""


def _warn(report: dict[str, Any], alike: str, *, dropped: bool) -> None:
    metrics = report["metrics"]
    if metrics["roc_auc"] <= 0.5:
        logger.warning("these scores rank the pairs no better than a coin (ROC AUC %.2f)", metrics["roc_auc"])
    if alike:
        logger.warning(alike)
    if dropped:
        logger.warning("the matcher's review band is dropped; give --review to keep one")


def fitted(
    contract: ScoreContract, scores: np.ndarray, labels: np.ndarray, *, threshold: Target, review: Target | None
) -> ScoreContract:
    """The contract with calibration, threshold and review threshold from these scores [N] and labels [N]."""
    from flipkd.student.contract import FORMAT

    # As training does: the answer's zero may mean even odds, that of a cosine or a sum does not.
    method = AUTO if set(contract.score) == {"answer"} else "sigmoid"
    calibration = fit_calibration(scores, labels, method=method)
    if calibration.is_flat(scores):
        logger.warning(
            "every pair gets about the probability %.2g: on these pairs the scores do not rise with the label",
            calibration.apply(scores).mean(),
        )
    cut = threshold.fit(scores, labels).value
    below = review.fit(scores, labels).value if review else None
    if below is not None and below >= cut:
        if review is None or review.metric != "recall":
            raise ConfigError(
                f"review would begin at {below:.4g}, but a score of {cut:.4g} is a match already; it must begin below: "
                "give --review a recall, as recall=0.99, or a lower score"
            )
        logger.warning("no pair needs review: the threshold of a match, %.4g, reaches that recall already", cut)
        below = None
    return contract.model_copy(
        update={
            "format": FORMAT,
            "flipkd_version": __version__,
            "calibration": asdict(calibration),
            "threshold": cut,
            "review_threshold": below,
            "cascade": None,  # its band was fitted to the scores and the threshold of before
        }
    )


def with_cascade(
    contract: ScoreContract, teacher: np.ndarray, scores: np.ndarray, labels: np.ndarray, *, loss: float
) -> tuple[ScoreContract, dict[str, float]]:
    """The contract with a band for this loss of F1, and the share that the teacher decides, F1 with it and without.

    teacher, scores, labels: [N]. Where the teacher may decide no pair at this loss, there is no band, and that is said.
    """
    from flipkd.student.contract import CascadeBand

    fit = fit_cascade(
        teacher,
        scores,
        labels,
        threshold=contract.threshold or 0.0,
        calibration=Calibration(**(contract.calibration or {})),
        loss=loss,
    )
    if fit.cascade is None:
        logger.warning("the teacher can decide no pair alone at a loss of %g of F1; allow more to get a cascade", loss)
    else:
        contract = contract.model_copy(update={"cascade": CascadeBand(**asdict(fit.cascade))})
    return contract, {"share": fit.share, "f1": fit.f1, "f1_all_read": fit.f1_all_read}


def figures(contract: ScoreContract, scores: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Metrics of these scores under the contract; intervals of precision, and of the matches that are not lost unseen."""
    threshold, below = contract.threshold or 0.0, contract.review_threshold
    probabilities = Calibration(**(contract.calibration or {})).apply(scores)
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
