"""Selection of the pairs that people should label first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import DataError
from flipkd.review.queue import QueuedPair

Selection = Literal["doubtful", "disagreement", "diverse", "random"]
Vectors = Callable[[list[str]], NDArray[np.float32]]


def select(
    pairs: Sequence[QueuedPair], by: Selection, *, limit: int | None = None, vectors: Vectors | None = None
) -> list[QueuedPair]:
    """Return at most `limit` pairs, best first.

    `doubtful`: the probability is nearest to 0.5. `disagreement`: the ranks of the matcher's and the teacher's score differ most;
    pairs without a teacher's score are left out. `diverse`: k-centre greedy (Gonzalez, 1985; Sener and Savarese, 2018): each next
    pair is the one farthest from all before, by the `vectors` of its texts, or by TF-IDF without them. `random`: as `pairs` are.
    Raises DataError for `disagreement` without any teacher's score.
    """
    found = list(pairs)
    if by == "doubtful":
        found.sort(key=_doubt)
    elif by == "disagreement":
        found = _by_disagreement(found)
    elif by == "diverse" and found:
        count = len(found) if limit is None else min(limit, len(found))
        sides = [pair.text1 for pair in found], [pair.text2 for pair in found]
        rows = _tfidf(*sides) if vectors is None else np.hstack([vectors(side) for side in sides])
        first = min(range(len(found)), key=lambda row: _doubt(found[row]))
        found = [found[row] for row in k_centres(rows, count, first=first)]
    return found[:limit]


def _doubt(pair: QueuedPair) -> float:
    return abs(pair.probability - 0.5)


def _by_disagreement(pairs: list[QueuedPair]) -> list[QueuedPair]:
    from scipy.stats import rankdata

    known = [pair for pair in pairs if pair.teacher_score is not None]
    if not known:
        raise DataError(
            "no pair of the queue has a teacher's score; give --teacher, a folder of flipkd teach or a matcher that keeps one"
        )
    ranks = [rankdata(scores) for scores in ([p.score for p in known], [p.teacher_score for p in known])]
    order = np.argsort(-np.abs(ranks[0] - ranks[1]), kind="stable")
    return [known[row] for row in order]


def _tfidf(left: list[str], right: list[str]) -> Any:
    """Sparse vectors [N, 2 W] of both texts, by their character sequences, which suit every language."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), dtype=np.float32)
    vectorizer.fit([*left, *right])
    return hstack([vectorizer.transform(left), vectorizer.transform(right)]).tocsr()


def k_centres(vectors: Any, count: int, *, first: int) -> list[int]:
    """Return `count` rows of vectors [N, D], dense or sparse: `first`, then each time the row farthest from all before."""
    squares = np.asarray(
        (vectors.multiply(vectors) if hasattr(vectors, "multiply") else vectors * vectors).sum(axis=1)
    )
    squares = squares.ravel().astype(np.float64)
    nearest, rows = np.full(len(squares), np.inf), [first]
    while len(rows) < count:
        products = vectors @ vectors[[rows[-1]]].T
        products = np.asarray(products.todense() if hasattr(products, "todense") else products).ravel()
        nearest = np.minimum(nearest, squares + squares[rows[-1]] - 2 * products)
        nearest[rows[-1]] = -np.inf  # rounding may leave a row at a distance above 0 from itself
        rows.append(int(np.argmax(nearest)))
    return rows
