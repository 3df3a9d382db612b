"""Ranking: order by falling score, and the rows of a search, for the matcher and the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def by_falling_score(scores: Sequence[float]) -> list[int]:
    """Sort positions of scores [N], the highest score first; ties keep their order."""
    positions: list[int] = np.argsort(-np.asarray(scores), kind="stable").tolist()
    return positions


def search_results(
    nearest: Sequence[tuple[int, float]],
    judged: Sequence[Mapping[str, Any]],
    entries: Sequence[Mapping[str, Any]],
    *,
    top_k: int,
) -> list[dict[str, Any]]:
    """Make the rows of the `top_k` best of an index's nearest entries, by falling score.

    nearest: (position, cosine) as `Index.nearest` returns them. judged: the fields of each of these with the query, among
    them `score`. A row has `corpus_id`, `similarity`, these fields and those of the entry.
    """
    rows = []
    for place in by_falling_score([fields["score"] for fields in judged])[:top_k]:
        position, similarity = nearest[place]
        rows.append({"corpus_id": position, "similarity": similarity, **judged[place], **entries[position]})
    return rows
