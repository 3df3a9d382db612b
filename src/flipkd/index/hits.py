"""Hits of a search, what every index can do, and the checks of vectors that all indexes share."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from flipkd.errors import DataError, NumbersError, UsageError
from flipkd.inputs import check_count

Floats = NDArray[np.float32]


class Hit(NamedTuple):
    """One entry near a query: what names it (`corpus_id` or `id`), its cosine with the query, and its fields with `text`."""

    key: dict[str, Any]
    similarity: float
    entry: dict[str, Any]


class SearchIndex(Protocol):
    """What a matcher and a server need of an index; `encoder` describes the model of its vectors in JSON values."""

    encoder: dict[str, Any]

    def __len__(self) -> int:
        """Return the number of entries."""
        ...

    def first_texts(self, limit: int) -> list[str]:
        """Return the texts of up to `limit` entries, the oldest first."""
        ...

    def hits(self, vector: Floats, *, top_k: int, where: str | None = None) -> list[Hit]:
        """Find the `top_k` entries nearest to a unit vector [d], best first; `where`: only entries that fulfil it."""
        ...


def check_unit_vectors(vectors: Floats, count: int) -> None:
    """Raise DataError unless there are `count` vectors [n, d], NumbersError for one that is not of unit length."""
    if vectors.ndim != 2 or len(vectors) != count:
        raise DataError(f"{count} entries need {count} vectors; got an array of shape {list(vectors.shape)}")
    wrong = np.flatnonzero(~np.isclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3))  # NaN is not close to 1 either
    if len(wrong):
        raise NumbersError(
            f"the vector of entry {wrong[0]} is not of unit length; {len(wrong)} of {len(vectors)} are not"
        )


def cosines_with(vectors: Floats, vector: Floats) -> NDArray[np.float64]:
    """Compute the cosines [n] of unit vectors [n, d] and one [d], in float64; equal vectors have equal ones.

    A matrix product rounds a row by its place, so that it would order copies of a text by chance.
    """
    found: NDArray[np.float64] = (vectors.astype(np.float64) * vector).sum(axis=1)
    return found


def check_query(vector: Floats, *, width: int, top_k: int) -> None:
    """Raise UsageError for a top_k below 1 or a vector of another width, NumbersError for one that is not of unit length."""
    check_count("top_k", top_k)
    if vector.shape != (width,):
        raise UsageError(f"got a vector of shape {list(vector.shape)}; the index has vectors of width {width}")
    if not np.isfinite(vector).all():
        raise NumbersError("the vector of the query is not finite")
    if not np.isclose(np.linalg.norm(vector), 1, atol=1e-3):
        raise NumbersError(
            f"the vector of the query has length {np.linalg.norm(vector):.3g}; it must be of unit length "
            "(encode with normalize_embeddings=True)"
        )
