"""Metrics of ranked documents, computed by sentence-transformers and scikit-learn, one query at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from flipkd.extras import require_extra

TOP = 10
DEPTH = 100  # ranks that the deepest metric reads
RANKING_METRICS = ("mrr@10", "ndcg@10", "recall@10", "recall@100", "map@100")


def query_metrics(ranked: Sequence[str], judged: Mapping[str, float]) -> dict[str, float]:
    """Measure one query: its document ids from the best on, and the relevance of each judged document.

    MRR, recall and MAP count a document as relevant when its relevance is above 0; they are those of sentence-transformers'
    InformationRetrievalEvaluator. nDCG uses the relevance as gain, by scikit-learn's ndcg_score. At least one document
    must be relevant. Raises ConfigError without the extra `retrieval`.
    """
    require_extra("retrieval", user="the measurement of rankings")
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    relevant = {document for document, grade in judged.items() if grade > 0}
    evaluator = InformationRetrievalEvaluator(
        {"query": ""},
        {},
        {"query": relevant},
        mrr_at_k=[TOP],
        precision_recall_at_k=[TOP, DEPTH],
        map_at_k=[DEPTH],
    )
    hits = [{"corpus_id": document, "score": -rank} for rank, document in enumerate(ranked)]
    found = evaluator.compute_metrics([hits])
    return {
        f"mrr@{TOP}": float(found["mrr@k"][TOP]),
        f"ndcg@{TOP}": _graded_gain(ranked, judged),
        f"recall@{TOP}": float(found["recall@k"][TOP]),
        f"recall@{DEPTH}": float(found["recall@k"][DEPTH]),
        f"map@{DEPTH}": float(found["map@k"][DEPTH]),
    }


def _graded_gain(ranked: Sequence[str], judged: Mapping[str, float]) -> float:
    """nDCG of the first TOP documents; a relevant document that was not ranked counts in the ideal order only."""
    from sklearn.metrics import ndcg_score

    found = set(ranked)
    missed = [grade for document, grade in judged.items() if document not in found]
    gains = [*(judged.get(document, 0.0) for document in ranked), *[0.0] * TOP, *missed]
    return float(ndcg_score([gains], [-np.arange(len(gains))], k=TOP, ignore_ties=True))
