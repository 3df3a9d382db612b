"""Kinds of generated rows: new texts, edits, relabelled texts, labels and reasons; each is made by one function."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flipkd.command_config import GenerateConfig
from flipkd.commands.matcher_teacher import vector_teacher
from flipkd.commands.pairs import labelled_pairs, normalised
from flipkd.data.labels import labels_of
from flipkd.data.pairs import read_pairs, sides_of
from flipkd.data.pool import read_pool
from flipkd.generate import prompts
from flipkd.generate.edits import edit, names_of
from flipkd.generate.endpoint import Endpoint
from flipkd.text import normal_text

logger = logging.getLogger(__name__)
DEMONSTRATIONS = 4


@dataclass
class Made:
    """Generated rows, and how many replies and pairs were thrown out, by reason."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def _texts(config: GenerateConfig) -> list[str]:
    pool = read_pool(config.seeds, columns=config.columns)
    left, right = sides_of(pool.dataset)
    return list(dict.fromkeys(map(normal_text, [*left, *right])))


def _origin(config: GenerateConfig, kind: str) -> str:
    return f"{kind}:{config.model}"


def _pairs(config: GenerateConfig, endpoint: Endpoint) -> Made:
    """Make pairs of each seed text and what the generator writes from each template."""
    asked = [(text, name) for text in _texts(config) for name in config.templates]
    requests = [prompts.synthesis(text, prompts.TEMPLATES[name], config.count) for text, name in asked]
    made = Made()
    for (text, name), reply in zip(asked, endpoint.replies(requests, label="generator"), strict=True):
        found = prompts.parse_texts(reply)[: config.count] if reply else []
        made.dropped["unreadable"] += reply is not None and not found
        for new in found:
            made.rows.append(_row(text, normal_text(new), prompts.TEMPLATES[name].label, _origin(config, name)))
    return made


def _row(left: str, right: str, label: int, origin: str) -> dict[str, Any]:
    return {"text1": left, "text2": right, "label": label, "origin": origin}


def _edits(config: GenerateConfig, endpoint: Endpoint | None) -> Made:
    """Change one number, day, month or name of each text: a pair that does not match, without a model."""
    texts, made, random = _texts(config), Made(), np.random.default_rng(config.seed)
    names = names_of(texts)
    for text in texts:
        for _ in range(config.count):
            new = edit(text, names, random)
            if new is None:
                made.dropped["nothing to edit"] += 1
            else:
                made.rows.append(_row(text, new, 0, "edits"))
    return made


def _relabel(config: GenerateConfig, endpoint: Endpoint) -> Made:
    """Make a query for each text, rate its nearest texts, and pair it with the best and the worst (Gecko, arXiv 2403.20327).

    The ranks of the teacher and of the rating are fused by the sum of their reciprocals.
    """
    teacher, texts, made = vector_teacher(str(config.teacher)), _texts(config), Made()
    vectors = teacher.vectors(texts)
    asked = [prompts.synthesis(text, prompts.TEMPLATES["question"], 1) for text in texts]
    replies = endpoint.replies(asked, label="queries")
    queries = [
        (row, normal_text(found[0]))
        for row, reply in enumerate(replies)
        if (found := prompts.parse_texts(reply or ""))
    ]
    made.dropped["unreadable"] += len(texts) - len(queries) - replies.count(None)
    if not queries:
        return made
    near = np.argsort(-(teacher.vectors([query for _, query in queries]) @ vectors.T), axis=1)[:, : config.candidates]
    rated = [prompts.rating(query, texts[c]) for (_, query), found in zip(queries, near, strict=True) for c in found]
    replies = endpoint.replies(rated, label="ratings")
    ratings = [prompts.parse_rating(reply or "") for reply in replies]
    by_query = np.array([np.nan if r is None else r for r in ratings]).reshape(len(queries), -1)
    moved, sent = 0, np.array([reply is not None for reply in replies]).reshape(by_query.shape)
    for (row, query), found, rates, were_sent in zip(queries, near, by_query, sent, strict=True):
        if np.isnan(rates).any():
            made.dropped["unreadable"] += bool(were_sent.all())
            continue
        order = np.argsort(-fused(rates), kind="stable")
        best, worst = int(found[order[0]]), int(found[order[-1]])
        moved += best != row
        made.rows.append(_row(query, texts[best], 1, _origin(config, "relabel")))
        if worst != best:
            made.rows.append(_row(query, texts[worst], 0, _origin(config, "relabel")))
    logger.warning("relabel: another text than the seed is the best for %d of %d queries", moved, len(queries))
    return made


def fused(rates: np.ndarray) -> np.ndarray:
    """Add the reciprocal ranks of candidates [n]: by position, the teacher's order, and by falling rating."""
    by_rating = np.argsort(np.argsort(-rates, kind="stable"), kind="stable")
    return np.asarray(1 / (1 + np.arange(len(rates))) + 1 / (1 + by_rating), np.float64)


def _labels(config: GenerateConfig, endpoint: Endpoint) -> Made:
    """Label unlabelled pairs by the mean of several questions; examples are similar labelled pairs without these texts."""
    pairs = normalised(read_pairs(config.seeds, columns=config.columns, only=("text1", "text2")))
    left, right = sides_of(pairs)
    examples = _demonstrations(config, left, right)
    requests = [
        prompts.judgement(a, b, question, shown)
        for a, b, shown in zip(left, right, examples, strict=True)
        for question in prompts.JUDGEMENTS
    ]
    replies, made = endpoint.replies(requests, label="labels"), Made()
    for row, pair in enumerate(zip(left, right, strict=True)):
        own = replies[row * len(prompts.JUDGEMENTS) :][: len(prompts.JUDGEMENTS)]
        answers = [prompts.parse_yes(reply or "") for reply in own]
        known = [answer for answer in answers if answer is not None]
        if len(known) < len(answers):
            made.dropped["unreadable"] += None not in own
            continue
        probability = float(np.mean(known))
        if config.mismatch_up_to < probability < config.match_from:
            made.dropped["undecided"] += 1
            continue
        made.rows.append(
            _row(*pair, int(probability >= config.match_from), _origin(config, "labels")) | {"critic": probability}
        )
    return made


def _demonstrations(
    config: GenerateConfig, left: Sequence[str], right: Sequence[str]
) -> list[list[tuple[str, str, int]]]:
    """Return, for each pair, its most similar labelled pairs, half matches and half not, which share no text with it."""
    if config.demonstrations is None:
        return [[] for _ in left]
    teacher = vector_teacher(str(config.teacher))
    solved = normalised(labelled_pairs(config.demonstrations, columns=None))
    a, b, label = *sides_of(solved), labels_of(solved)
    known = teacher.vectors(a) + teacher.vectors(b)
    similarity = (teacher.vectors(left) + teacher.vectors(right)) @ known.T
    found = []
    for row, texts in enumerate(zip(left, right, strict=True)):
        order = [k for k in np.argsort(-similarity[row]) if not {a[k], b[k]} & {*texts}]
        halves = [[k for k in order if label[k] == y][: DEMONSTRATIONS // 2] for y in (1, 0)]
        found.append([(a[k], b[k], int(label[k])) for pair in zip(*halves, strict=False) for k in pair])
    return found


def _rationales(config: GenerateConfig, endpoint: Endpoint) -> Made:
    """Write a reason for each labelled pair; it is kept only if its answer is the label (arXiv 2203.14465)."""
    pairs = normalised(labelled_pairs(config.seeds, columns=config.columns))
    rows = list(zip(*sides_of(pairs), labels_of(pairs).tolist(), strict=True))
    made, asked = Made(), [prompts.rationale(a, b) for a, b, _ in rows]
    for (left, right, label), reply in zip(rows, endpoint.replies(asked, label="rationales"), strict=True):
        found = prompts.parse_rationale(reply) if reply else None
        if found is None or found[1] != label:
            made.dropped["unreadable" if found is None else "wrong answer"] += reply is not None
            continue
        made.rows.append(_row(left, right, label, _origin(config, "rationales")) | {"rationale": found[0]})
    return made


KINDS: dict[str, Callable[[GenerateConfig, Endpoint], Made]] = {
    "pairs": _pairs,
    "edits": _edits,
    "relabel": _relabel,
    "labels": _labels,
    "rationales": _rationales,
}
