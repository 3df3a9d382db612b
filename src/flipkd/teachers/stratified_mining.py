"""Stratified mining of pairs: an even spread over the teacher's probability of a match."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from flipkd.device import best_device
from flipkd.evaluate.calibration import Calibration
from flipkd.teachers.mining import first_rows

BINS = 10  # bins of equal width of the teacher's calibrated probability
CELLS = 2**28  # at most this many pairs are scored, half a minute of one core; left texts are sampled to fit
CELLS_AT_ONCE = 2**22


def sample_stratified(probability: NDArray[np.float64], count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Sample `count` of N rows, sorted: equally many from each of BINS bins of [0, 1], or all rows of a smaller bin."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(probability))
    bins = np.minimum((probability[order] * BINS).astype(np.int64), BINS - 1)
    shares = _shares(np.bincount(bins, minlength=BINS), count)
    return np.sort(np.concatenate([order[bins == number][:share] for number, share in enumerate(shares.tolist())]))


def _shares(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Sample sizes per bin: as equal as the bin sizes allow, with the sum `count`, or all rows if there are fewer."""
    shares, left = np.zeros_like(sizes), min(count, int(sizes.sum()))
    for done, number in enumerate(np.argsort(sizes, kind="stable").tolist()):
        shares[number] = min(sizes[number], left // (len(sizes) - done))
        left -= shares[number]
    return shares


def mine_stratified(
    left: Sequence[str],
    right: Sequence[str],
    left_vectors: NDArray[np.float32],
    right_vectors: NDArray[np.float32],
    *,
    count: int,
    calibration: Calibration,
    given: Iterable[tuple[str, str]] = (),
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mine at most `count` new pairs; return (row numbers of the left texts, row numbers of the right texts).

    left: N texts, right: M texts; vectors [N, d] and [M, d] of unit length. For each left text, random right texts are
    candidates from each bin of the teacher's calibrated probability, ceil(count / N) per bin, usually one;
    `sample_stratified` selects `count` of them. Excluded, in either order: pairs in `given`, duplicates, a text with itself.
    """
    left_rows, right_rows = first_rows(left), first_rows(right)
    if not len(left_rows) or not count:
        return left_rows[:0], right_rows[:0]
    random = np.random.default_rng(seed)
    most = max(CELLS // len(right_rows), 1)
    if len(left_rows) > most:
        left_rows = np.sort(random.choice(left_rows, most, replace=False))
    excluded = _excluded(left, right, left_rows, right_rows, given)
    device, corpus = best_device(), torch.from_numpy(right_vectors[right_rows])
    corpus = corpus.to(device)
    each = min(math.ceil(count / len(left_rows)), len(right_rows))
    at_once = max(CELLS_AT_ONCE // len(right_rows), 1)
    chosen: dict[tuple[str, str], tuple[int, int, float]] = {}
    for start in range(0, len(left_rows), at_once):
        rows = left_rows[start : start + at_once]
        cosines = torch.from_numpy(left_vectors[rows]).to(device) @ corpus.T
        probability = torch.sigmoid(calibration.slope * cosines + calibration.intercept)
        draw = torch.from_numpy(random.random(tuple(cosines.shape), dtype=np.float32)).to(device)
        for at, column, p in _sample_bins(probability, draw, excluded[start : start + at_once], each=each):
            i, j = int(rows[at]), int(right_rows[column])
            first, second = sorted((left[i], right[j]))
            chosen.setdefault((first, second), (i, j, p))
    kept = list(chosen.values())
    taken = sample_stratified(np.array([p for _, _, p in kept]), count, seed=seed)
    pairs = np.array([(i, j) for i, j, _ in kept], np.int64).reshape(-1, 2)[taken]
    return pairs[:, 0], pairs[:, 1]


def _excluded(
    left: Sequence[str],
    right: Sequence[str],
    left_rows: NDArray[np.int64],
    right_rows: NDArray[np.int64],
    given: Iterable[tuple[str, str]],
) -> list[list[int]]:
    """Positions in `right_rows` of the texts excluded for each of `left_rows`."""
    position = {right[row]: at for at, row in enumerate(right_rows.tolist())}
    partners: dict[str, set[str]] = {}
    for a, b in given:
        partners.setdefault(a, set()).add(b)
        partners.setdefault(b, set()).add(a)
    texts = [left[row] for row in left_rows.tolist()]
    return [sorted(position[b] for b in {*partners.get(a, ()), a} if b in position) for a in texts]


def _sample_bins(
    probability: torch.Tensor, draw: torch.Tensor, excluded: Sequence[Sequence[int]], *, each: int
) -> list[tuple[int, int, float]]:
    """Cells as (row, column, probability): in each row and bin the `each` ones with the highest `draw`; inputs [n, M]."""
    bins = (probability * BINS).clamp(max=BINS - 1).to(torch.int8)
    rows = [row for row, columns in enumerate(excluded) for _ in columns]
    bins[rows, [column for columns in excluded for column in columns]] = -1
    found: list[tuple[int, int, float]] = []
    for number in range(BINS):
        highest, columns = draw.where(bins == number, -1.0).topk(each, dim=1)
        row, rank = torch.nonzero(highest >= 0, as_tuple=True)
        column = columns[row, rank]
        found += zip(row.tolist(), column.tolist(), probability[row, column].tolist(), strict=True)
    return found
