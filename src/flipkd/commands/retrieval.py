"""retrieval: how well queries find their documents, by BM25, by an encoder, and after a matcher ranked the first ones again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from flipkd import progress
from flipkd.command_config import RetrievalConfig
from flipkd.commands.results import require_writable, text_table
from flipkd.commands.search import stored_vectors
from flipkd.data.judgements import DOCUMENT_IDS, QUERY_IDS, Judgements, read_collection, read_judgements
from flipkd.errors import DataError, UsageError
from flipkd.evaluate.compare import paired_means
from flipkd.evaluate.ranking import DEPTH, RANKING_METRICS, query_metrics
from flipkd.extras import require_extra
from flipkd.files import write_json
from flipkd.index import Index

logger = logging.getLogger(__name__)
Ranking = list[int]  # positions of documents, best first
BM25, ENCODER, RERANKED = "bm25", "encoder", "{} + matcher"
SHOWN = "ndcg@10"  # metric whose differences are printed


def retrieval(config: RetrievalConfig) -> dict[str, Any]:
    """Rank the documents for each judged query by each system, and return metrics, their differences and those of each query.

    Differences are between neighbours of the list of systems, with the 95 % interval of a paired bootstrap over queries.
    Raises UsageError without any system, DataError for files that do not fit each other, ConfigError without the extra
    `retrieval`.
    """
    if not (config.bm25 or config.encoder):
        raise UsageError("nothing finds documents: give --encoder, or leave --no-bm25 out")
    if config.output:
        require_writable(config.output, source=config.queries, mark='"systems"')
    require_extra("retrieval", user="flipkd retrieval")
    documents = read_collection(config.documents, ids=DOCUMENT_IDS)
    queries, judgements = _judged(config, documents)
    texts = list(queries.values()), list(documents.values())
    depth = max(DEPTH, config.candidates)
    found: dict[str, list[Ranking]] = {}
    if config.bm25:
        found[BM25] = by_words(*texts, top_k=depth)
    if config.encoder:
        found[ENCODER] = by_vectors(*texts, config.encoder, top_k=depth, base_model=config.base_model)
    if config.matcher:
        found |= _reranked(config, *texts, found)
    ids = list(documents)
    per_query = {
        name: [
            query_metrics([ids[position] for position in ranking], judgements[query])
            for query, ranking in zip(queries, rankings, strict=True)
        ]
        for name, rankings in found.items()
    }
    result = _summary(config, queries, documents, per_query)
    if config.output:
        each = {name: dict(zip(queries, rows, strict=True)) for name, rows in per_query.items()}
        write_json(config.output, result | {"per_query": each})
    return result


def _judged(config: RetrievalConfig, documents: Mapping[str, str]) -> tuple[dict[str, str], Judgements]:
    """Return the queries that have a relevant document in the collection, and the judgements; log what is left out."""
    queries, judgements = read_collection(config.queries, ids=QUERY_IDS), read_judgements(config.qrels)
    relevant = {query: {name for name, grade in judged.items() if grade > 0} for query, judged in judgements.items()}
    kept = {query: text for query, text in queries.items() if relevant.get(query, set()) & documents.keys()}
    if not kept:
        raise DataError(
            f"{config.qrels}: no query of {config.queries} has a relevant document of {config.documents}; compare the ids"
        )
    if left := len(queries) - len(kept):
        logger.warning("%d of %d queries have no relevant document and are left out", left, len(queries))
    if missing := len({name for query in kept for name in relevant[query]} - documents.keys()):
        logger.warning("%d relevant documents are not in %s; no system can find them", missing, config.documents)
    return kept, judgements


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


def _reranked(
    config: RetrievalConfig, queries: Sequence[str], documents: Sequence[str], found: Mapping[str, list[Ranking]]
) -> dict[str, list[Ranking]]:
    """Rank the first documents of each ranking again by the matcher's score; a pair is scored once for all systems."""
    progress.loading(config.matcher)
    from flipkd.matcher import Matcher

    matcher = Matcher.from_pretrained(config.matcher or "", base_model=config.base_model)
    new: dict[str, list[Ranking]] = {RERANKED.format(name): [] for name in found}
    with progress.bar(len(queries), "queries", unit="text") as bar:
        for number, query in enumerate(queries):
            firsts = {name: rankings[number][: config.candidates] for name, rankings in found.items()}
            candidates = sorted({position for first in firsts.values() for position in first})
            ranked = matcher.rank(query, [documents[position] for position in candidates]) if candidates else []
            scores = {candidates[row["corpus_id"]]: row["score"] for row in ranked}
            for name, first in firsts.items():
                best = sorted(first, key=lambda position: -scores[position])
                new[RERANKED.format(name)].append(best + found[name][number][config.candidates :])
            bar.update(1)
    return new


def _summary(
    config: RetrievalConfig,
    queries: Mapping[str, str],
    documents: Mapping[str, str],
    per_query: Mapping[str, list[dict[str, float]]],
) -> dict[str, Any]:
    """Return the means of all metrics and the differences of each pair of systems worth comparing."""
    values = {
        name: {metric: np.array([row[metric] for row in rows]) for metric in RANKING_METRICS}
        for name, rows in per_query.items()
    }
    differences = [
        {"a": a, "b": b, **{metric: paired_means(values[a][metric], values[b][metric]) for metric in RANKING_METRICS}}
        for b, a in _compared(list(per_query))
    ]
    return {
        "queries": len(queries),
        "documents": len(documents),
        "candidates": config.candidates if config.matcher else None,
        "systems": {
            name: {metric: float(column.mean()) for metric, column in found.items()} for name, found in values.items()
        },
        "differences": differences,
    }


def _compared(names: list[str]) -> list[tuple[str, str]]:
    """Return (base, other): each system with its reranked one, and the systems of one stage with each other."""
    stages = [name for name in names if RERANKED.format(name) in names]
    pairs = [(name, RERANKED.format(name)) for name in stages]
    first = [name for name in names if name in (BM25, ENCODER)]
    return [*pairwise(first), *pairs, *pairwise(name for name in names if name not in first)]


def retrieval_text(result: Mapping[str, Any]) -> str:
    """Return the metrics of each system and the differences as tables."""
    rows = [
        [name, *(f"{found[metric]:.3f}" for metric in RANKING_METRICS)] for name, found in result["systems"].items()
    ]
    lines = [f"{result['queries']} queries, {result['documents']} documents", ""]
    lines.append(text_table(["system", *RANKING_METRICS], rows))
    if result["differences"]:
        compared = [
            [
                f"{row['a']} minus {row['b']}",
                f"{row[SHOWN]['difference']:+.3f}",
                f"{row[SHOWN]['low']:+.3f} to {row[SHOWN]['high']:+.3f}",
            ]
            for row in result["differences"]
        ]
        lines += ["", text_table([f"difference of {SHOWN}", "value", "95 % interval"], compared)]
    return "\n".join(lines)
