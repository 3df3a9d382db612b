"""Properties of texts that a drift changes: script, words that are new, distance to the nearest known text."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from flipkd.text import caseless

NO_SCRIPT = "NONE"  # of a text without a letter
# Chinese and Japanese have no spaces, so each character counts as a word there.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
BLOCK = 1024  # texts compared at once


def main_script(text: str) -> str:
    """Return the script of most letters, by the first word of their Unicode names: LATIN, CYRILLIC, CJK, ..."""
    counts = Counter(_script(character) for character in text if character.isalpha())
    return counts.most_common(1)[0][0] if counts else NO_SCRIPT


@lru_cache(maxsize=65536)
def _script(letter: str) -> str:
    return unicodedata.name(letter, NO_SCRIPT).split(" ")[0].split("-")[0]


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; a Chinese or Japanese character is a word."""
    return _WORD.findall(caseless(text))


def is_held_out(text: str) -> bool:
    """Return whether a text is in the half whose texts are compared; the other half of the texts is what is known.

    The half depends on the text alone. So a text of the reference and an equal text of a window are in the same half, and
    rows of both that come from the same source have the same distribution, given the known half.
    """
    return bool(zlib.crc32(caseless(text).encode("utf-8", "replace")) & 1)


def vocabulary(texts: Iterable[str]) -> set[str]:
    """Return all words of the texts."""
    return {word for text in texts for word in words(text)}


def new_word_share(text: str, known: set[str]) -> float:
    """Return the share of a text's words that are not known; 0 for a text without words."""
    found = words(text)
    return sum(word not in known for word in found) / len(found) if found else 0.0


def nearest_distances(vectors: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute 1 - cosine to the nearest known vector [n], for unit vectors [n, d] and [k, d]."""
    blocks = [1 - (vectors[start : start + BLOCK] @ known.T).max(axis=1) for start in range(0, len(vectors), BLOCK)]
    return np.concatenate(blocks).astype(np.float64) if blocks else np.zeros(0)


def effective_count(texts: Sequence[str]) -> float:
    """Return how many independent texts these are worth: Kish's n^2 / (sum of squared counts), n when all are different."""
    counts = np.array(list(Counter(texts).values()), dtype=np.float64)
    return float(counts.sum() ** 2 / (counts**2).sum()) if len(counts) else 0.0


def shares(names: Sequence[str]) -> dict[str, float]:
    """Return the share of each name, the largest first."""
    return {name: count / len(names) for name, count in Counter(names).most_common()}
