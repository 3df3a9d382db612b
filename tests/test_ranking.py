"""Ranking: falling scores with ties in the order given, and the rows of a search."""

from __future__ import annotations

import numpy as np

from flipkd.index import Hit
from flipkd.ranking import by_falling_score, search_results


def test_by_falling_score_keeps_the_order_of_ties():
    assert by_falling_score([1.0, 3.0, 1.0, 3.0, 2.0]) == [1, 3, 4, 0, 2]
    assert by_falling_score(np.array([0.5, 0.25], np.float32)) == [0, 1]
    assert by_falling_score([]) == []


def test_search_results_are_the_best_of_the_nearest_with_their_entries():
    entries = [{"text": f"text {row}", "id": row} for row in range(4)]
    hits = [Hit({"corpus_id": row}, cosine, entries[row]) for row, cosine in [(2, 0.9), (0, 0.8), (3, 0.7)]]
    judged = [{"score": score, "decision": "match"} for score in (1.0, 5.0, 5.0)]
    assert search_results(hits, judged, top_k=2) == [
        {"corpus_id": 0, "similarity": 0.8, "score": 5.0, "decision": "match", "text": "text 0", "id": 0},
        {"corpus_id": 3, "similarity": 0.7, "score": 5.0, "decision": "match", "text": "text 3", "id": 3},
    ]
    assert search_results([], [], top_k=2) == []
