"""Sections of a matcher's card that change after training: its decisions, and its figures on test pairs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard

from flipkd.artefacts import library_errors
from flipkd.errors import ArtefactError, RefusedError
from flipkd.files import CARD
from flipkd.student.contract import ScoreContract

DECISIONS = """<!-- decisions -->
## How it decides

A score of at least {threshold:.4f} is a match{review}. The score is that of {orders}.{direction} A higher threshold gives
fewer and surer matches; `flipkd calibrate --threshold precision=0.95` finds one for a target of yours.

The probability of a match is {calibration}.
`ece` is its mean distance from the share of matches, `brier_score` its mean squared error.

Measured on the {n} validation pairs, which chose this and the calibration, so that the figures flatter; measure on pairs
of your own.

| metric | value |
| --- | --- |
{rows}
<!-- /decisions -->"""
DIRECTION = " The order means something here: (a, b) may match and (b, a) not."
CALIBRATION = "sigmoid({slope:.4g} * score {sign} {intercept:.4g}), fitted with the method {method}"
TEST = """<!-- test -->
## Test

Measured by `flipkd evaluate` on test pairs, with this threshold and calibration.

{tables}
<!-- /test -->"""
DATA = """{name}, {pairs} pairs:

| metric | value |
| --- | --- |
{rows}"""
SIZE = "n"
COUNTS = (SIZE, "positives")
# Of `evaluate`, but no metrics for the hub.
NOT_RESULTS = (*COUNTS, "threshold", "review_threshold", "f1_all_read", "f1_lost", "seconds", "seconds_all_read")
END_OF_DECISIONS = "<!-- /decisions -->"


def read_card(folder: Path) -> str:
    """Return the card of a matcher folder, "" without one. Raises ArtefactError when it is not UTF-8: people may edit it.

    Raises RefusedError for a link to a file elsewhere: no sha256 covers the card, and it is copied and published.
    """
    file, home = (folder / CARD).resolve(), folder.resolve()
    blobs = home.parent.parent / "blobs"  # in the cache of the hub each file is a link to one of them
    if file.parent not in (home, blobs):
        raise RefusedError(f"{folder / CARD}: is a link to {file}, outside the folder; put the card itself there")
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{folder / CARD}: cannot be read ({error}); save it as UTF-8, or delete it") from None


def replace_decisions(card: str, contract: ScoreContract, *, metrics: Mapping[str, float]) -> str:
    """Return the card with its section of decisions replaced, or appended where it has none, and without test figures.

    Those were measured with the earlier threshold and calibration.
    """
    return _replaced(_without_test(card), "decisions", decisions(contract, metrics=metrics))


def decisions(contract: ScoreContract, *, metrics: Mapping[str, float]) -> str:
    """Return the section of threshold, review band, calibration and validation metrics."""
    below = contract.review_threshold
    return DECISIONS.format(
        n=int(metrics[SIZE]),
        rows=_rows(metrics),
        threshold=contract.threshold,
        orders="both orders of the texts, averaged" if contract.symmetric else "the texts in the order given",
        direction=DIRECTION if contract.directed else "",
        review="" if below is None else f", one from {below:.4f} on is for a person to review",
        calibration=_calibration(contract.calibration) + _base_rate(contract),
    )


def add_test(card: str, *, model: str, data: str, metrics: Mapping[str, float]) -> str:
    """Return the card with the metrics of a test set, in a section and in the hub's model-index; those of `data` are replaced.

    `model` is a name of the matcher. Raises ArtefactError for a card whose metadata cannot be read.
    """
    parsed = parsed_card(card)
    kept = [result for result in parsed.data.eval_results or [] if result.dataset_name != data]
    added = [
        EvalResult(
            task_type="text-ranking",
            task_name="Text matching",
            dataset_type=data,
            dataset_name=data,
            dataset_split="test",
            dataset_args={"pairs": int(metrics[SIZE])},
            metric_type=name,
            metric_value=round(value, 6),
        )
        for name, value in metrics.items()
        if name not in NOT_RESULTS
    ]
    parsed.data.eval_results = kept + added
    parsed.data.model_name = model
    text, section = parsed.content, _test(parsed.data.eval_results)
    if "<!-- test -->" not in text and END_OF_DECISIONS in text:
        return str(text.replace(END_OF_DECISIONS, f"{END_OF_DECISIONS}\n\n{section}", 1))
    return _replaced(text, "test", section)


def _test(results: list[Any]) -> str:
    sets: dict[str, dict[str, float]] = {}
    pairs: dict[str, Any] = {}
    for result in results:
        sets.setdefault(result.dataset_name, {})[result.metric_type] = result.metric_value
        pairs[result.dataset_name] = (result.dataset_args or {}).get("pairs", "unknown")
    tables = [DATA.format(name=name, pairs=pairs[name], rows=_rows(values)) for name, values in sets.items()]
    return TEST.format(tables="\n\n".join(tables))


def _without_test(card: str) -> str:
    if "model-index:" not in card:
        return card
    parsed = parsed_card(card)
    parsed.data.eval_results = parsed.data.model_name = None
    return re.sub(r"\n*<!-- test -->.*<!-- /test -->", "", parsed.content, flags=re.DOTALL)


def parsed_card(card: str) -> Any:
    """Return huggingface_hub's ModelCard of a text. Raises ArtefactError when its metadata cannot be read."""
    with library_errors(CARD, "its metadata cannot be read; correct or delete it"):
        return ModelCard(card)


def _replaced(card: str, name: str, section: str) -> str:
    """Return the card with the section between its marks replaced, or appended where it has no such marks."""
    marked = re.compile(f"<!-- {name} -->.*<!-- /{name} -->", re.DOTALL)
    return marked.sub(lambda _: section, card) if marked.search(card) else f"{card}\n{section}\n"


def figure(name: str, value: float) -> str:
    """Return a metric as text."""
    return f"{value:.0f}" if name in COUNTS else f"{value:.4f}"


def _rows(metrics: Mapping[str, float]) -> str:
    return "\n".join(f"| {name} | {figure(name, value)} |" for name, value in metrics.items())


def _base_rate(contract: ScoreContract) -> str:
    """Return the end of the sentence about the probability, for a base rate that was stated."""
    known = contract.base_rate
    if known is None or known.pairs is not None:
        return ""
    return f", corrected for pairs of which {known.rate:.3g} match (the figures below are those before the correction)"


def _calibration(fields: Mapping[str, Any] | None) -> str:
    if not fields:
        return "sigmoid(score), without calibration"
    slope, intercept = fields["slope"], fields["intercept"]
    sign = "-" if intercept < 0 else "+"
    return CALIBRATION.format(slope=slope, sign=sign, intercept=abs(intercept), method=fields["method"])
