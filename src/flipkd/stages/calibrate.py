"""calibrate: a finished matcher's probabilities and decisions, fitted anew on labelled pairs and to a target of one's own."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from flipkd import __version__
from flipkd.errors import ConfigError
from flipkd.evaluate.calibration import Calibration, fit_calibration
from flipkd.evaluate.decisions import MATCH, NO_MATCH, decide, measure_decisions, share_interval
from flipkd.evaluate.targets import Target
from flipkd.files import CARD, MANIFEST, new_folder, read_json, write_text
from flipkd.stages.pairs import labelled, labels_of, trainable_pairs

if TYPE_CHECKING:
    from flipkd.student.contract import ScoreContract

logger = logging.getLogger(__name__)


def calibrate(
    matcher: str,
    validation_file: str,
    *,
    output_dir: str,
    threshold: str = "f1",
    review: str | None = None,
    symmetric: bool | None = None,
    columns: dict[str, str] | None = None,
    base_model: str | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Write the matcher to `output_dir` with a calibration, a threshold and a review band that these pairs choose.

    `threshold` and `review` are words as `Target.parse` reads them; `symmetric`: score both orders of a pair and take
    the mean (None: as the matcher does). Returns the metrics on these very pairs, and the intervals of precision and of
    the matches that are not lost. The matcher it starts from stays as it is. Raises ConfigError for other words,
    ResourceError when `output_dir` exists, DataError for too few labels or a target that cannot be reached.
    """
    match_target, review_target = Target.parse(threshold), Target.parse(review) if review else None
    dataset = labelled(trainable_pairs(validation_file, columns=columns, name="validation"), name="validation")
    labels = labels_of(dataset)
    with new_folder(output_dir) as temporary:  # refused before the pairs are scored
        from flipkd.matcher import Matcher, matcher_folder
        from flipkd.training.card import with_decisions

        loaded = Matcher.from_pretrained(matcher, base_model=base_model)
        if symmetric is not None:
            loaded.contract = loaded.contract.model_copy(update={"symmetric": symmetric})
        pairs = list(zip(dataset["text1"][:], dataset["text2"][:], strict=True))
        scores = loaded.predict(pairs, batch_size=batch_size, show_progress_bar=True)
        contract = fitted(loaded.contract, scores, labels, threshold=match_target, review=review_target)
        report = figures(contract, scores, labels)
        folder = matcher_folder(matcher)
        for name in read_json(folder / MANIFEST)["files"]:  # what else lies there is none of the matcher
            file, copy = folder / name, temporary / name
            if name == CARD:
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)  # the bytes alone: the folder it comes from may be read-only
        contract.save(temporary)
        card = folder / CARD
        text = card.read_text(encoding="utf-8") if card.exists() else ""
        write_text(temporary / CARD, with_decisions(text, contract, metrics=report["metrics"]))
    _warn(report, dropped=loaded.review_threshold is not None and review is None)
    return report


def _warn(report: dict[str, Any], *, dropped: bool) -> None:
    metrics, called = report["metrics"], report["precision"]["n"]
    if metrics["roc_auc"] <= 0.5:
        logger.warning("these scores rank the pairs no better than a coin (ROC AUC %.2f)", metrics["roc_auc"])
    if called in (0, metrics["n"]):
        logger.warning(
            "%s pair is called a match: all scores lie on one side of the threshold %.4g (a score, no probability)",
            "every" if called else "no",
            metrics["threshold"],
        )
    if dropped:
        logger.warning("the matcher's review band is dropped; give --review to keep one")


def fitted(
    contract: ScoreContract, scores: np.ndarray, labels: np.ndarray, *, threshold: Target, review: Target | None
) -> ScoreContract:
    """The contract with calibration, threshold and review threshold from these scores [N] and labels [N]."""
    from flipkd.student.contract import FORMAT

    # As training does: the answer's zero means even odds, that of a cosine or a sum does not.
    method = "temperature" if set(contract.score) == {"answer"} else "sigmoid"
    calibration = fit_calibration(scores, labels, method=method)
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
        }
    )


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
