"""Pairs spread evenly over what the teacher thinks of them: sure no, doubtful and sure yes all occur."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from flipkd.device import best_device
from flipkd.evaluate.calibration import Calibration
from flipkd.teachers.mining import first_rows

BINS = 10  # of equal width, of the teacher's calibrated probability
CELLS = 2**28  # pairs of texts that are looked at, half a minute of one core; of more left texts as many are drawn
CELLS_AT_ONCE = 2**22


def sample_stratified(probability: NDArray[np.float64], count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """`count` of N rows, in their order: as many of each of BINS bins of [0, 1], or all of a bin that has fewer."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(probability))
    bins = np.minimum((probability[order] * BINS).astype(np.int64), BINS - 1)
    shares = _shares(np.bincount(bins, minlength=BINS), count)
    return np.sort(np.concatenate([order[bins == number][:share] for number, share in enumerate(shares.tolist())]))


def _shares(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """How many to take of each bin: as equal as the sizes allow, `count` together or all there are."""
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
    """At most `count` new pairs as rows of the given texts: (rows whose left text, rows whose right text is meant).

    left: N texts, right: M texts; vectors [N, d] and [M, d] of unit length. Candidates are, for each left text, right texts
    drawn from each bin of the teacher's calibrated probability, from each as many as a text must give at least, mostly one;
    of these `sample_stratified` takes `count`. No pair is among `given`, a text with itself, or there twice, either way round.
    """
    left_rows, right_rows = first_rows(left), first_rows(right)
    if not len(left_rows) or not count:
        return left_rows[:0], right_rows[:0]
    random = np.random.default_rng(seed)
    most = max(CELLS // len(right_rows), 1)
    if len(left_rows) > most:
        left_rows = np.sort(random.choice(left_rows, most, replace=False))
    banned = _banned(left, right, left_rows, right_rows, given)
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
        for at, column, p in _some_of_each_bin(probability, draw, banned[start : start + at_once], each=each):
            i, j = int(rows[at]), int(right_rows[column])
            first, second = sorted((left[i], right[j]))
            chosen.setdefault((first, second), (i, j, p))
    kept = list(chosen.values())
    taken = sample_stratified(np.array([p for _, _, p in kept]), count, seed=seed)
    pairs = np.array([(i, j) for i, j, _ in kept], np.int64).reshape(-1, 2)[taken]
    return pairs[:, 0], pairs[:, 1]


def _banned(
    left: Sequence[str],
    right: Sequence[str],
    left_rows: NDArray[np.int64],
    right_rows: NDArray[np.int64],
    given: Iterable[tuple[str, str]],
) -> list[list[int]]:
    """For each of `left_rows` the places in `right_rows` whose text it may not be paired with."""
    place = {right[row]: at for at, row in enumerate(right_rows.tolist())}
    partners: dict[str, set[str]] = {}
    for a, b in given:
        partners.setdefault(a, set()).add(b)
        partners.setdefault(b, set()).add(a)
    texts = [left[row] for row in left_rows.tolist()]
    return [sorted(place[b] for b in {*partners.get(a, ()), a} if b in place) for a in texts]


def _some_of_each_bin(
    probability: torch.Tensor, draw: torch.Tensor, banned: Sequence[Sequence[int]], *, each: int
) -> list[tuple[int, int, float]]:
    """(row, column, probability) of the `each` cells with the highest draws in each row and bin; all [n, M]."""
    bins = (probability * BINS).clamp(max=BINS - 1).to(torch.int8)
    rows = [row for row, columns in enumerate(banned) for _ in columns]
    bins[rows, [column for columns in banned for column in columns]] = -1
    found: list[tuple[int, int, float]] = []
    for number in range(BINS):
        highest, columns = draw.where(bins == number, -1.0).topk(each, dim=1)
        row, rank = torch.nonzero(highest >= 0, as_tuple=True)
        column = columns[row, rank]
        found += zip(row.tolist(), column.tolist(), probability[row, column].tolist(), strict=True)
    return found
