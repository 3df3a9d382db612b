"""All checks of a window against the reference, and which of them are alarms at a stated rate of false alarms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import UsageError, nearest
from flipkd.evaluate.compare import holm
from flipkd.watch.differences import (
    RESAMPLES,
    Difference,
    calibration_difference,
    distribution_difference,
    mean_difference,
    share_difference,
    stability_index,
)
from flipkd.watch.rows import ScoredRows
from flipkd.watch.texts import effective_count, is_held_out, main_script, nearest_distances, new_word_share, vocabulary

Embed = Callable[[Sequence[str]], NDArray[np.float32]]  # unit vectors [n, d] of texts
SIDES = ("text1", "text2")
LEAST_ROWS = 30  # of the reference and of the window; fewer are not compared
# Smallest effect of an alarm: with many rows a difference without consequences is significant too.
LEAST_EFFECTS = {
    "score": 0.05,
    "score_bins": 0.05,
    "text1_length": 0.05,
    "text2_length": 0.05,
    "script": 0.02,
    "text1_new_words": 0.05,
    "text2_new_words": 0.05,
    "text1_distance": 0.05,
    "text2_distance": 0.05,
    "disagreement": 0.05,
    "base_rate": 0.03,
    "calibration": 0.02,
    "overconfidence": 0.02,
}


@dataclass(frozen=True)
class Check(Difference):
    """A named difference; `p_adjusted` and `alarm` are those of all checks judged together."""

    name: str = ""
    rows: int = 0
    p_adjusted: float = 1.0
    alarm: bool = False


def compare(
    reference: ScoredRows,
    window: ScoredRows,
    *,
    embed: Embed | None = None,
    sample: int = 2000,
    resamples: int = RESAMPLES,
) -> list[Check]:
    """Compare a window with the reference by all checks for which both have at least LEAST_ROWS rows; nothing is judged.

    embed: the teacher's vectors, which at most `sample` rows of each get. resamples: of the tests of calibration.
    """
    found: list[Check] = []
    for name, test, first, second in _columns(reference, window, embed, sample):
        if min(len(first), len(second)) >= LEAST_ROWS:
            found.append(Check(**vars(test(first, second)), name=name, rows=len(second)))
    known, new = reference.labelled(), window.labelled()
    found += [Check(**vars(test), name=name, rows=len(new)) for name, test in _label_checks(known, new, resamples)]
    return found


def judge(
    windows: Sequence[Sequence[Check]],
    *,
    alpha: float,
    together: bool,
    least_effects: Mapping[str, float] | None = None,
) -> list[list[Check]]:
    """Mark the alarms: checks whose p value after Holm's correction is at most `alpha` and whose effect is large enough.

    together: the correction is for the checks of all windows, so that without drift the chance of any alarm is at most alpha;
    else for each window alone, whose chance is then at most alpha. Raises UsageError for an unknown name in `least_effects`.
    """
    least = LEAST_EFFECTS | dict(least_effects or {})
    for name in least.keys() - LEAST_EFFECTS.keys():
        raise UsageError(f"no check is called {name!r}; {nearest(name, list(LEAST_EFFECTS))}")
    families = [[check for checks in windows for check in checks]] if together else windows
    adjusted = iter([float(p) for family in families for p in holm([check.p_value for check in family])])
    judged: list[list[Check]] = []
    for checks in windows:
        with_p = [(check, next(adjusted)) for check in checks]
        judged.append(
            [
                Check(**vars(check) | {"p_adjusted": p, "alarm": p <= alpha and check.effect >= least[check.name]})
                for check, p in with_p
            ]
        )
    return judged


def _columns(reference: ScoredRows, window: ScoredRows, embed: Embed | None, sample: int) -> Iterator[tuple[Any, ...]]:
    """Yield name, test and the two samples of each check whose columns are there."""
    yield "score", distribution_difference, reference.score, window.score
    yield "score_bins", stability_index, reference.score, window.score
    both = [side for side in SIDES if getattr(reference, side) is not None and getattr(window, side) is not None]
    for side in both:
        texts = [getattr(rows, side) for rows in (reference, window)]
        lengths = [np.array([float(len(text)) for text in column]) for column in texts]
        yield f"{side}_length", _test_of(*texts), *lengths
    if both:
        yield "script", share_difference, *_other_script(reference, window, both)
    for side in both:
        known = vocabulary({text for text in getattr(reference, side) if not is_held_out(text)})
        texts = [_held_out(rows, side) for rows in (reference, window)]
        shares = [np.array([new_word_share(text, known) for text in column]) for column in texts]
        yield f"{side}_new_words", _test_of(*texts, larger=True), *shares
    if embed is not None and len(both) == len(SIDES):
        yield from _vector_columns(reference.sample(sample), window.sample(sample), embed)


def _test_of(reference: Sequence[str], window: Sequence[str], *, larger: bool = False) -> Callable[..., Difference]:
    """Return the test of a figure of these texts: equal texts have equal figures, so that they are not independent values."""
    return partial(distribution_difference, larger=larger, sizes=(effective_count(reference), effective_count(window)))


def _held_out(rows: ScoredRows, side: str) -> list[str]:
    return [text for text in getattr(rows, side) if is_held_out(text)]


def _other_script(reference: ScoredRows, window: ScoredRows, sides: Sequence[str]) -> list[NDArray[np.bool_]]:
    """Mark the pairs with a text whose main script is not the most common one of the reference."""
    scripts = [[[main_script(text) for text in getattr(rows, side)] for side in sides] for rows in (reference, window)]
    common = Counter(name for column in scripts[0] for name in column).most_common(1)[0][0]
    return [np.any([[name != common for name in column] for column in columns], axis=0) for columns in scripts]


def _vector_columns(reference: ScoredRows, window: ScoredRows, embed: Embed) -> Iterator[tuple[Any, ...]]:
    """Distances of held-out texts to the known ones by the teacher, and the disagreement of teacher and matcher."""
    cosines = []
    for rows in (reference, window):
        left, right = (embed(getattr(rows, side)) for side in SIDES)
        cosines.append(np.einsum("nd,nd->n", left, right).astype(np.float64))
    for side in SIDES:
        known = embed(sorted({text for text in getattr(reference, side) if not is_held_out(text)}))
        texts = [_held_out(rows, side) for rows in (reference, window)]
        if len(known):
            distances = [nearest_distances(embed(column), known) for column in texts]
            yield f"{side}_distance", _test_of(*texts, larger=True), *distances
    gaps = [
        np.abs(_ranks(rows.score, reference.score) - _ranks(cosine, cosines[0]))
        for rows, cosine in zip((reference, window), cosines, strict=True)
    ]
    yield "disagreement", partial(distribution_difference, larger=True), *gaps


def _ranks(values: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the reference that is below each value; equal ones count half."""
    ordered = np.sort(reference)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(below / (2 * len(ordered)))


def _label_checks(reference: ScoredRows, window: ScoredRows, resamples: int) -> Iterator[tuple[str, Difference]]:
    """Compare base rate and calibration of the labelled rows; a reference without enough labels counts as calibrated."""
    if len(window) < LEAST_ROWS:
        return
    known = len(reference) >= LEAST_ROWS
    if known:
        yield "base_rate", share_difference(reference.label == 1, window.label == 1)
    old, new = reference.probability, window.probability
    if new is None:
        return
    # Both errors have the mean 0 for calibrated probabilities, whatever their distribution; the mean of the second is above 0
    # for probabilities that are too close to 0 and 1 (Spiegelhalter, Statistics in Medicine 5, 1986).
    for name, tilt in (("calibration", 0), ("overconfidence", 2)):
        weight = 1 - tilt * new
        if known and old is not None:
            errors = (1 - tilt * old) * (reference.label - old), weight * (window.label - new)
            yield name, mean_difference(*errors, resamples=resamples)
        else:
            yield name, calibration_difference(new, window.label, weight, resamples=resamples)
