"""Scored rows of a made-up matcher, with the drifts that the watch must find."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from flipkd.watch.rows import ScoredRows

STARTS = ["ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu"]
WORDS = [start + end for start in STARTS for end in ("ran", "ben", "cil", "don", "sur", "tam")]
OTHER_WORDS = [word[::-1] for word in WORDS]
CYRILLIC = ["карта", "банк", "счёт", "деньги", "перевод", "касса"]
VECTORS = np.random.default_rng(5).normal(size=(2 * len(WORDS) + len(CYRILLIC) + 1, 8)).astype(np.float32)
NUMBERS = {word: number for number, word in enumerate([*WORDS, *OTHER_WORDS, *CYRILLIC])}


def draw(
    seed: int,
    count: int,
    *,
    labelled: float = 1.0,
    base_rate: float = 0.5,
    score_shift: float = 0.0,
    slope: float = 1.0,
    words: list[str] = WORDS,
    longer: int = 0,
    agreement: float = 0.9,
) -> ScoredRows:
    """Draw pairs: a text on the right repeats words of the left one where the pair matches.

    slope: of the true logit against the stated one, 1 where the probabilities are calibrated; agreement: chance that a match
    repeats a word.
    """
    generator = np.random.default_rng(seed)
    match = generator.random(count) < base_rate
    score = generator.normal(np.where(match, 1.0, -1.0), 1.2) + score_shift
    probability = expit(2 * score / 1.2**2)  # the posterior for a base rate of one half
    if slope != 1:
        match = generator.random(count) < expit(slope * logit(probability))
    sizes = generator.integers(3, 7, size=count) + longer
    left = [[words[k] for k in generator.integers(len(words), size=size)] for size in sizes]
    right = [
        [word if same and generator.random() < agreement else words[generator.integers(len(words))] for word in text]
        for text, same in zip(left, match, strict=True)
    ]
    return ScoredRows(
        score=score,
        probability=probability,
        label=np.where(generator.random(count) < labelled, match, -1).astype(np.int64),
        text1=[_with_rare_word(text, generator) for text in left],
        text2=[_with_rare_word(text, generator) for text in right],
    )


def _with_rare_word(text: list[str], generator: np.random.Generator) -> str:
    """Add a number to half of the texts, which hardly any other text has: new words without drift."""
    rare = [str(generator.integers(10**9))] if generator.random() < 0.5 else []
    return " ".join([*text, *rare])


def embed(texts) -> np.ndarray:
    """Unit vectors: the sum of the vectors of the words; all numbers have one vector."""
    if not len(texts):
        return np.zeros((0, VECTORS.shape[1]), np.float32)
    vectors = np.stack([VECTORS[[NUMBERS.get(word, -1) for word in text.split()]].sum(axis=0) for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
