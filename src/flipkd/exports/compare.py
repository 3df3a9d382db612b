"""Comparison of an export with its matcher: token ids, scores, ranks, decisions and AP on the same pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from flipkd.evaluate.fidelity import rank_correlation
from flipkd.exports.formats import SLACK, Bounds, ExportedScorer
from flipkd.matcher import Matcher

Floats = NDArray[np.float32]
LEAST_PAIRS = 50  # for the bound of Spearman: among few pairs one exchange of neighbours counts too much


class Noise(NamedTuple):
    """Rounding of a matcher in 16 bits: it scores the same pairs again, in other batches."""

    largest_difference: float
    spearman: float


@dataclass(frozen=True)
class Reference:
    """Pairs with the token ids and the scores [N] of the matcher."""

    left: list[str]
    right: list[str]
    pair_ids: list[list[int]]
    text_ids: list[list[int]]
    truncated: NDArray[np.bool_]
    """True for a pair with a text that the matcher truncates."""
    scores: Floats
    decisions: list[str]
    noise: Noise | None
    """Scores of the matcher itself, one pair per pass, against `scores`; None where it computes in float32."""


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison; differences are those of scores, and `spread` is the standard deviation of the matcher's."""

    pairs: int
    truncated: int
    ids_equal: int
    """Pairs with equal token ids, of those without a truncated text."""
    largest_difference: float
    largest_difference_truncated: float | None
    mean_difference: float
    spread: float
    spearman: float
    """Of the pairs without a truncated text."""
    flipped: int
    """Pairs with another decision."""
    average_precision: dict[str, float] | None
    noise: dict[str, float] | None
    """Largest difference and Spearman of the matcher with itself, one pair per pass; None where it computes in float32."""
    bounds: dict[str, float]
    beyond: list[str] = field(default_factory=list)
    """Sentences about what is beyond the bounds; empty if nothing is."""

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON."""
        return asdict(self)


def reference(
    matcher: Matcher,
    pairs: Sequence[tuple[str, str]],
    *,
    dtype: str,
    compares: str = "score",
    batch_size: int | None = None,
) -> Reference:
    """Compute ids, scores and decisions of the matcher itself; with `compares="cosine"` the scores are cosines of `encode`.

    For an export in float32 or int8 the matcher computes in float32 from now on: its rounding in 16 bits would hide errors.
    """
    student = matcher.student
    if dtype in ("float32", "int8") and not matcher.contract.load_in_4bit:
        student.adapters.release()
        student.model.float()
        for module in student.model.modules():
            if hasattr(module, "scalar_embed_scale"):  # of Gemma: its copy in a buffer was rounded to 16 bits
                module.embed_scale = torch.tensor(module.scalar_embed_scale, device=student.device)
    left, right = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    prompt, rounds = student.prompt, student.language_model.dtype != torch.float32
    predict = _cosines if compares == "cosine" else Matcher.predict
    scores = predict(matcher, pairs, batch_size=batch_size)
    is_cut = [cut for _, cut in prompt.text_ids([*left, *right])]
    return Reference(
        left=left,
        right=right,
        pair_ids=[row.ids for row in prompt.pair_rows(left, right)],
        text_ids=[row.ids for row in prompt.text_rows([*left, *right])],
        truncated=np.array(is_cut[: len(left)]) | np.array(is_cut[len(left) :]),
        scores=scores,
        decisions=matcher.decisions(scores),
        noise=_noise(scores, predict(matcher, pairs, batch_size=1)) if rounds else None,
    )


def _cosines(matcher: Matcher, pairs: Sequence[tuple[str, str]], *, batch_size: int | None = None) -> Floats:
    left, right = (matcher.encode([pair[side] for pair in pairs], batch_size=batch_size) for side in (0, 1))
    cosines: Floats = (left * right).sum(1)
    return cosines


def _noise(scores: Floats, again: Floats) -> Noise:
    return Noise(float(np.abs(again - scores).max(initial=0.0)), _spearman(scores, again))


def compare(
    expected: Reference,
    scorer: ExportedScorer,
    matcher: Matcher,
    *,
    bounds: Bounds,
    labels: NDArray[np.int64] | None = None,
) -> Comparison:
    """Score the pairs with the export and compare. labels [N]: for AP, which needs both classes.

    Where the library truncates both texts together, pairs with a truncated text count for decisions and AP only.
    """
    truncated = expected.truncated & (not scorer.truncates_each_text)
    found = np.asarray(scorer.scores(expected.left, expected.right), np.float32)
    difference = np.abs(found.astype(np.float64) - expected.scores)
    full, cut = difference[~truncated], difference[truncated]
    flipped = sum(a != b for a, b in zip(matcher.decisions(found), expected.decisions, strict=True))
    spread = float(expected.scores.std())
    equal, noise = _equal_ids(expected, scorer), expected.noise
    own = 1.0 if noise is None or not bounds.noisy else noise.spearman - SLACK
    least = min(bounds.spearman, own)
    result = Comparison(
        pairs=len(found),
        truncated=int(truncated.sum()),
        ids_equal=int(equal[~truncated].sum()),
        largest_difference=float(full.max(initial=0.0)),
        largest_difference_truncated=float(cut.max()) if len(cut) else None,
        mean_difference=float(full.mean()) if len(full) else 0.0,
        spread=spread,
        spearman=_spearman(expected.scores[~truncated], found[~truncated]) if np.isfinite(found).all() else 0.0,
        flipped=flipped,
        average_precision=_average_precision(expected.scores, found, labels),
        noise=None if noise is None else noise._asdict(),
        bounds={"difference": bounds.difference * max(1.0, spread), "spearman": least},
    )
    result.beyond.extend(_beyond(result))
    return result


def _equal_ids(expected: Reference, scorer: ExportedScorer) -> NDArray[np.bool_]:
    found = scorer.token_ids(expected.left, expected.right)
    if scorer.reads_pairs:
        return np.array([a == b for a, b in zip(found, expected.pair_ids, strict=True)])
    sides = np.array([a == b for a, b in zip(found, expected.text_ids, strict=True)])
    return np.asarray(sides[: len(expected.left)] & sides[len(expected.left) :])


def _spearman(expected: Floats, found: Floats) -> float:
    """Return the rank correlation; 1 if one of the columns is constant and both are equal, else 0; 1 of no scores."""
    if not len(found):
        return 1.0
    if not np.isfinite(found).all():
        return 0.0
    rho = rank_correlation(expected, found)
    return float(np.allclose(expected, found, atol=1e-4)) if rho is None else rho


def _average_precision(expected: Floats, found: Floats, labels: NDArray[np.int64] | None) -> dict[str, float] | None:
    if labels is None or len(set(labels.tolist())) < 2 or not np.isfinite(found).all():
        return None
    columns = {"matcher": expected, "export": found}
    return {name: float(average_precision_score(labels, scores)) for name, scores in columns.items()}


def _beyond(result: Comparison) -> list[str]:
    found = []
    compared = result.pairs - result.truncated
    if result.ids_equal < compared:
        found.append(f"the token ids of {compared - result.ids_equal} of {compared} pairs differ")
    if not result.largest_difference <= result.bounds["difference"]:  # true for NaN as well
        found.append(
            f"the largest difference of scores is {result.largest_difference:.3g}, above {result.bounds['difference']:.3g}"
        )
    if compared >= LEAST_PAIRS and result.spearman < result.bounds["spearman"]:
        found.append(f"Spearman is {result.spearman:.4f}, below {result.bounds['spearman']:.4f}")
    return found
