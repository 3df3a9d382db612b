"""First stages of a search: the documents that BM25 or an encoder finds for each query, best first."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from flipkd.commands.search import stored_vectors
from flipkd.index import Index

Ranking = list[int]  # positions of documents, best first


def by_words(queries: Sequence[str], documents: Sequence[str], *, top_k: int) -> list[Ranking]:
    """Rank documents by BM25 (bm25s with its defaults, no stop words, no stemmer); those without a common word are left out."""
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # its import sets DEBUG

    def words(texts: Sequence[str]) -> list[list[str]]:
        found: list[list[str]] = bm25s.tokenize(list(texts), stopwords=None, return_ids=False, show_progress=False)
        return found

    retriever = bm25s.BM25()
    retriever.index(words(documents), show_progress=False)
    rankings = []
    for query in words(queries):
        known = [word for word in query if word in retriever.vocab_dict]
        scores = retriever.get_scores(known) if known else np.zeros(len(documents))
        order = np.argsort(-scores, kind="stable")[:top_k]
        rankings.append([int(position) for position in order if scores[position] > 0])
    return rankings


def by_vectors(
    queries: Sequence[str], documents: Sequence[str], encoder: str, *, top_k: int, base_model: str | None = None
) -> list[Ranking]:
    """Rank documents by the cosine of their vectors and the query's; `encoder` as in `stored_vectors`."""
    vectors = stored_vectors(encoder, [*documents, *queries], base_model=base_model)
    index = Index([{"text": text} for text in documents], vectors[: len(documents)], encoder={"folder": encoder})
    return [[position for position, _ in index.nearest(vector, top_k=top_k)] for vector in vectors[len(documents) :]]
