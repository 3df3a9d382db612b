"""Weights per pair over several teachers: their mean, a router, or a policy that learns from the reward of its choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import ConfigError
from flipkd.evaluate.calibration import Calibration

Floats = NDArray[np.float64]
STEPS, RATE = 400, 0.2  # of the policy
CLEAREST = 6.0  # log-odds beyond which features do not grow


@dataclass(frozen=True)
class Mixture:
    """Mixed log-odds of M calibrated teachers, with weights per pair: softmax of `features @ weights`.

    With `weights` of zeros, [F, M], it is the mean of the teachers' probabilities.
    """

    calibrations: Sequence[Calibration]
    weights: Floats
    centre: Floats
    scale: Floats

    def shares(self, scores: Floats, left: Sequence[str], right: Sequence[str]) -> Floats:
        """Compute the weight of each teacher for each pair [N, M]; each row has the sum 1. scores: [N, M]."""
        features = _features(_log_odds(self.calibrations, scores), left, right)
        return _softmax(_standardised(features, self.centre, self.scale) @ self.weights)

    def log_odds(self, scores: Floats, left: Sequence[str], right: Sequence[str]) -> Floats:
        """Compute the log-odds [N] of the weighted mean of the teachers' probabilities. scores: [N, M]."""
        probability = _probabilities(_log_odds(self.calibrations, scores))
        mixed = (self.shares(scores, left, right) * probability).sum(axis=1)
        return np.asarray(np.log(mixed) - np.log1p(-mixed), np.float64)


def fit_mixture(
    scores: Floats,
    left: Sequence[str],
    right: Sequence[str],
    labels: NDArray[np.int64],
    *,
    calibrations: Sequence[Calibration],
    weighting: str,
) -> Mixture:
    """Fit the weights on labelled pairs; scores: [N, M], labels: [N].

    `mean`: equal weights (MEAL V2). `router`: the weights with the highest likelihood of the labels, shrunk towards the mean
    (MST-Distill). `policy`: REINFORCE, the reward of a teacher is the log-likelihood of its answer (arXiv 2012.06048).
    Raises ConfigError for another name.
    """
    log_odds = _log_odds(calibrations, scores)
    features = _features(log_odds, left, right)
    centre, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
    standard = _standardised(features, centre, scale)
    probability = _probabilities(log_odds)
    likelihood = np.where(labels[:, None] == 1, probability, 1 - probability)
    if weighting not in WEIGHTINGS:
        raise ConfigError(f"teacher_weights={weighting!r}: allowed is {', '.join(WEIGHTINGS)}")
    weights = WEIGHTINGS[weighting](standard, likelihood)
    return Mixture(calibrations, weights, centre, scale)


def _equal(standard: Floats, likelihood: Floats) -> Floats:
    return np.zeros((standard.shape[1], likelihood.shape[1]))


def _router(standard: Floats, likelihood: Floats) -> Floats:
    from scipy.optimize import minimize

    shape = (standard.shape[1], likelihood.shape[1])

    def _loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(shape)
        shares = _softmax(standard @ weights)
        mixed = (shares * likelihood).sum(axis=1)
        slope = -(shares * (likelihood - mixed[:, None])) / mixed[:, None]
        gradient = standard.T @ slope + weights  # a normal prior of width 1 around the mean
        return float(-np.log(mixed).sum() + 0.5 * (weights**2).sum()), gradient.ravel()

    found: Any = minimize(_loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B")
    return np.asarray(found.x.reshape(shape), np.float64)


def _policy(standard: Floats, likelihood: Floats) -> Floats:
    random, rewards = np.random.default_rng(0), np.log(likelihood)
    weights = np.zeros((standard.shape[1], likelihood.shape[1]))
    for step in range(STEPS):
        rate = RATE * (1 - step / STEPS)
        weights += rate * policy_gradient(standard, rewards, weights, random)
    return weights


def policy_gradient(standard: Floats, rewards: Floats, weights: Floats, random: np.random.Generator) -> Floats:
    """Estimate the gradient [F, M] of the expected reward from one teacher drawn for each pair; rewards: [N, M].

    The mean reward of each pair is subtracted, which lowers the variance and does not change the expectation.
    """
    shares = _softmax(standard @ weights)
    drawn = (shares.cumsum(axis=1) < random.random((len(shares), 1))).sum(axis=1).clip(max=shares.shape[1] - 1)
    reward = rewards[np.arange(len(rewards)), drawn] - (shares * rewards).sum(axis=1)
    direction = np.eye(shares.shape[1])[drawn] - shares
    return np.asarray(standard.T @ (reward[:, None] * direction) / len(standard), np.float64)


WEIGHTINGS: dict[str, Callable[[Floats, Floats], Floats]] = {"mean": _equal, "router": _router, "policy": _policy}


def _log_odds(calibrations: Sequence[Calibration], scores: Floats) -> Floats:
    columns = [c.slope * scores[:, m] + c.intercept for m, c in enumerate(calibrations)]
    return np.asarray(np.stack(columns, axis=1), np.float64)


def _probabilities(log_odds: Floats) -> Floats:
    return np.asarray((1 / (1 + np.exp(-log_odds.clip(-30, 30)))).clip(1e-6, 1 - 1e-6), np.float64)


def _features(log_odds: Floats, left: Sequence[str], right: Sequence[str]) -> Floats:
    """Make features [N, M + 4]: each teacher's log-odds, their spread, both lengths, and 1."""
    clear = log_odds.clip(-CLEAREST, CLEAREST)
    lengths = [np.log1p([len(text) for text in side]) for side in (left, right)]
    return np.column_stack([clear, clear.std(axis=1), *lengths, np.ones(len(clear))])


def _standardised(features: Floats, centre: Floats, scale: Floats) -> Floats:
    standard = (features - centre) / scale
    standard[:, -1] = 1.0
    return np.asarray(standard, np.float64)


def _softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float64)
