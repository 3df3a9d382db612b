"""Tests whether a window differs from a reference: pure functions of arrays, each with an effect size and a p value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 10  # of the stability index, with equally many rows of the reference
LEAST_EXPECTED = 5  # rows that the chi-square test expects in each bin
RESAMPLES = 9999
FIRST_RESAMPLES, LARGE_P = 999, 0.05  # a p value above LARGE_P needs no more resamples
BATCH = 2_000_000  # values resampled at once
MANY_ROWS = 5000
EXACT_ROWS = 500  # up to here the p value of the KS test is exact


@dataclass(frozen=True)
class Difference:
    """A window compared with the reference: a figure of each, the size of the difference (0: none) and its p value."""

    reference: float
    window: float
    effect: float
    p_value: float


def distribution_difference(
    reference: Floats, window: Floats, *, larger: bool = False, sizes: tuple[float, float] | None = None
) -> Difference:
    """Compare two samples [n], [m] by the two-sample Kolmogorov-Smirnov test; the figures are medians.

    `larger`: test only whether the window has larger values. `sizes`: the numbers of independent values where those are fewer
    than n and m, for the p value. The effect is the greatest distance of the two cumulative distributions, from 0 to 1.
    """
    from scipy.stats import ks_2samp, kstwobign

    method = "exact" if max(len(reference), len(window)) <= EXACT_ROWS else "asymp"
    found = ks_2samp(reference, window, alternative="greater" if larger else "two-sided", method=method)
    p_value = float(found.pvalue)
    if sizes is not None and sizes != (len(reference), len(window)):
        distance = float(found.statistic) * (sizes[0] * sizes[1] / sum(sizes)) ** 0.5
        p_value = float(np.exp(-2 * distance**2)) if larger else float(kstwobign.sf(distance))
    return Difference(float(np.median(reference)), float(np.median(window)), float(found.statistic), p_value)


def stability_index(reference: Floats, window: Floats) -> Difference:
    """Compute the population stability index (PSI) of two samples in bins with equally many rows of the reference.

    PSI = sum over bins of (q - p) ln(q / p) for the shares p and q, in which each bin has half a row more. There are as many
    bins, at most BINS, as leave the window LEAST_EXPECTED rows in each. p value: chi-square test of the same counts, which
    n m / (n + m) PSI approximates (Yurdakul and Naranjo, Journal of Risk Model Validation 14, 2020). Figures: the shares
    beyond the median of the reference.
    """
    from scipy.stats import chi2_contingency

    fewer = min(len(reference), len(window))
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, max(2, min(BINS, fewer // LEAST_EXPECTED)) + 1)[1:-1]))
    bins = [np.bincount(np.searchsorted(edges, sample), minlength=len(edges) + 1) for sample in (reference, window)]
    counts = np.stack(bins)[:, np.sum(bins, axis=0) > 0]
    shares = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    value = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    p_value = float(chi2_contingency(counts, correction=False).pvalue) if counts.shape[1] > 1 else 1.0
    median = np.median(reference)
    return Difference(float((reference > median).mean()), float((window > median).mean()), value, p_value)


def share_difference(reference: NDArray[np.bool_], window: NDArray[np.bool_]) -> Difference:
    """Compare two shares by Fisher's exact test; the effect is their absolute difference."""
    from scipy.stats import fisher_exact

    table = [[int(rows.sum()), int((~rows).sum())] for rows in (reference, window)]
    shares = float(reference.mean()), float(window.mean())
    return Difference(*shares, abs(shares[1] - shares[0]), min(1.0, float(fisher_exact(table).pvalue)))


def mean_difference(reference: Floats, window: Floats, *, resamples: int = RESAMPLES) -> Difference:
    """Compare two means by a permutation test; the effect is the absolute difference.

    A t test would do for large samples only: for 30 skewed values against 1,000 its p values below 0.01 came 20 times too often.
    From MANY_ROWS in both samples on it is Welch's t test. The least p value is 2 / (resamples + 1).
    """
    from scipy.stats import permutation_test, ttest_ind

    def difference(first: Floats, second: Floats, axis: int) -> Floats:
        found: Floats = first.mean(axis=axis) - second.mean(axis=axis)
        return found

    means = float(reference.mean()), float(window.mean())
    if min(len(reference), len(window)) >= MANY_ROWS:
        p_value = ttest_ind(window, reference, equal_var=False).pvalue
    else:
        batch = max(1, BATCH // (len(reference) + len(window)))
        for count in (FIRST_RESAMPLES, resamples):
            both = window, reference
            found = permutation_test(both, difference, vectorized=True, n_resamples=count, batch=batch, rng=0)
            p_value = found.pvalue
            if p_value > LARGE_P:
                break
    return Difference(*means, abs(means[1] - means[0]), float(p_value))


def calibration_difference(
    probability: Floats, label: NDArray[np.int64], weight: Floats, *, resamples: int = RESAMPLES
) -> Difference:
    """Test whether the mean of weight * (label - probability) is that of labels drawn by these probabilities, which is 0.

    probability, label, weight: [n]. p value: the share of `resamples` drawn sets of labels whose mean is as far from 0; from
    MANY_ROWS on that of the normal distribution with the same variance.
    """
    from scipy.stats import norm

    mean = float((weight * (label - probability)).mean())
    if len(label) >= MANY_ROWS:
        deviation = float(np.sqrt((weight**2 * probability * (1 - probability)).sum())) / len(label)
        return Difference(0.0, mean, abs(mean), 2 * float(norm.sf(abs(mean) / deviation)) if deviation else 1.0)
    generator = np.random.default_rng(0)
    farther, batch = 0, max(1, BATCH // len(label))
    for start in range(0, resamples, batch):
        drawn = generator.random((min(batch, resamples - start), len(label))) < probability
        farther += int((np.abs(((drawn - probability) * weight).mean(axis=1)) >= abs(mean) - 1e-12).sum())
    return Difference(0.0, mean, abs(mean), (1 + farther) / (1 + resamples))
