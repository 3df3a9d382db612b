"""Ranking: order by falling score, and the rows of a search, for the matcher and the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flipkd.index import Hit


def by_falling_score(scores: Sequence[float]) -> list[int]:
    """Sort positions of scores [N], the highest score first; ties keep their order."""
    positions: list[int] = np.argsort(-np.asarray(scores), kind="stable").tolist()
    return positions


def search_results(hits: Sequence[Hit], judged: Sequence[Mapping[str, Any]], *, top_k: int) -> list[dict[str, Any]]:
    """Make the rows of the `top_k` best of an index's hits, by falling score.

    judged: the fields of each hit with the query, among them `score`. A row has `corpus_id` or `id`, `similarity`, these
    fields and those of the entry.
    """
    best = by_falling_score([fields["score"] for fields in judged])[:top_k]
    return [{**hits[at].key, "similarity": hits[at].similarity, **judged[at], **hits[at].entry} for at in best]
