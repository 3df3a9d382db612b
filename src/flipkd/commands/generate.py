"""generate: training pairs from a language model behind an endpoint, kept only where a critic agrees."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.command_config import GenerateConfig
from flipkd.commands.critic import Critic, teacher_of
from flipkd.commands.match_rows import to_csv, to_jsonl
from flipkd.commands.pairs import labelled, normalised, trainable_pairs
from flipkd.commands.results import require_writable
from flipkd.data import read_pairs, read_pool
from flipkd.data.labels import labels_of
from flipkd.errors import ConfigError, DataError, UsageError, nearest
from flipkd.extras import require_extra
from flipkd.files import write_text
from flipkd.generate import prompts
from flipkd.generate.endpoint import Endpoint
from flipkd.generate.filters import near_copies
from flipkd.text import normal_text

logger = logging.getLogger(__name__)
CACHE = ".replies"  # after the name of the output file: the folder of the endpoint's replies
DEMONSTRATIONS = 4


@dataclass
class Made:
    """Generated rows, and how many replies and pairs were thrown out, by reason."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def generate(config: GenerateConfig) -> dict[str, Any]:
    """Write pairs {text1, text2, label, origin, critic} to `output`; return the counts of pairs, requests and reasons.

    Replies are cached beside the output: a stopped command, or one with a larger budget, sends no request twice. Raises
    UsageError and ConfigError for settings that do not fit, ResourceError when the server cannot be reached.
    """
    _require_settings(config)
    key = None if config.api_key_file is None else _read_key(Path(config.api_key_file))
    output = Path(config.output)
    endpoint = Endpoint(
        config.base_url,
        settings={
            "model": config.model,
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
            "seed": config.seed,
        },
        cache=output.with_name(output.name + CACHE),
        budget=config.max_requests,
        key=key,
        concurrency=config.concurrency,
        timeout=config.timeout,
    )
    made = KINDS[config.kind](config, endpoint)
    if config.kind in ("pairs", "relabel"):
        _filter(made, config, endpoint)
    write_text(output, to_csv(made.rows, guard=False) if output.suffix == ".csv" else to_jsonl(made.rows))
    if endpoint.sent >= config.max_requests:
        logger.warning(
            "the budget of %d requests is used up; the same command with a larger max_requests continues",
            endpoint.sent,
        )
    labels = Counter(row["label"] for row in made.rows)
    counts = {"pairs": len(made.rows), "match": labels[1], "no_match": labels[0], "requests": endpoint.sent}
    return counts | {"cached": endpoint.reused} | dict(sorted(made.dropped.items()))


def _require_settings(config: GenerateConfig) -> None:
    require_extra("train", user="flipkd generate")
    if Path(config.output).suffix not in (".csv", ".jsonl"):
        raise UsageError(f"{config.output}: unknown file type; name the result .csv or .jsonl")
    require_writable(config.output, source=config.seeds, mark="origin")
    for name in config.templates:
        if name not in prompts.TEMPLATES:
            raise ConfigError(f"templates: no template is called {name!r}; {nearest(name, list(prompts.TEMPLATES))}")
    judged = config.kind in ("pairs", "relabel") and config.critic == "teacher"
    for name in ("teacher", "validation_file"):
        if judged and not getattr(config, name):
            raise UsageError(f"the critic is the teacher, which needs --{name}; or choose --critic endpoint")
    if config.teacher is None and (config.kind == "relabel" or config.demonstrations):
        raise UsageError("nearest texts are found by the vectors of a teacher; give --teacher FOLDER")


def _read_key(path: Path) -> str:
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--api_key_file {path}: cannot be read ({error})") from None
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"--api_key_file {path}: holds no key; write the key of the server in one line")
    return key


def _texts(config: GenerateConfig) -> list[str]:
    pool = read_pool(config.seeds, columns=config.columns)
    return list(dict.fromkeys(map(normal_text, [*pool.dataset["text1"][:], *pool.dataset["text2"][:]])))


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


def _relabel(config: GenerateConfig, endpoint: Endpoint) -> Made:
    """Make a query for each text, rate its nearest texts, and pair it with the best and the worst (Gecko, arXiv 2403.20327).

    The ranks of the teacher and of the rating are fused by the sum of their reciprocals.
    """
    teacher, texts, made = teacher_of(config), _texts(config), Made()
    vectors = teacher.vectors(texts)
    asked = [prompts.synthesis(text, prompts.TEMPLATES["question"], 1) for text in texts]
    queries = [
        (row, normal_text(found[0]))
        for row, reply in enumerate(endpoint.replies(asked, label="queries"))
        if (found := prompts.parse_texts(reply or ""))
    ]
    made.dropped["unreadable"] += len(texts) - len(queries)
    if not queries:
        return made
    near = np.argsort(-(teacher.vectors([query for _, query in queries]) @ vectors.T), axis=1)[:, : config.candidates]
    rated = [prompts.rating(query, texts[c]) for (_, query), found in zip(queries, near, strict=True) for c in found]
    ratings = [prompts.parse_rating(reply or "") for reply in endpoint.replies(rated, label="ratings")]
    by_query = np.array([np.nan if r is None else r for r in ratings]).reshape(len(queries), -1)
    moved = 0
    for (row, query), found, rates in zip(queries, near, by_query, strict=True):
        if np.isnan(rates).any():
            made.dropped["unreadable"] += 1
            continue
        order = np.argsort(-fused(rates), kind="stable")
        best, worst = int(found[order[0]]), int(found[order[-1]])
        moved += best != row
        made.rows += [_row(query, texts[best], 1, _origin(config, "relabel"))]
        made.rows += [_row(query, texts[worst], 0, _origin(config, "relabel"))] if worst != best else []
    logger.warning("relabel: another text than the seed is the best for %d of %d queries", moved, len(queries))
    return made


def fused(rates: np.ndarray) -> np.ndarray:
    """Add the reciprocal ranks of candidates [n]: by position, the teacher's order, and by falling rating."""
    by_rating = np.argsort(np.argsort(-rates, kind="stable"), kind="stable")
    return np.asarray(1 / (1 + np.arange(len(rates))) + 1 / (1 + by_rating), np.float64)


def _labels(config: GenerateConfig, endpoint: Endpoint) -> Made:
    """Label unlabelled pairs by the mean of several questions; examples are similar labelled pairs without these texts."""
    pairs = normalised(read_pairs(config.seeds, columns=config.columns, only=("text1", "text2")))
    left, right = pairs["text1"][:], pairs["text2"][:]
    examples = _demonstrations(config, left, right)
    requests = [
        prompts.judgement(a, b, question, shown)
        for a, b, shown in zip(left, right, examples, strict=True)
        for question in prompts.JUDGEMENTS
    ]
    replies, made = endpoint.replies(requests, label="labels"), Made()
    for row, pair in enumerate(zip(left, right, strict=True)):
        answers = [
            prompts.parse_yes(r or "") for r in replies[row * len(prompts.JUDGEMENTS) :][: len(prompts.JUDGEMENTS)]
        ]
        known = [answer for answer in answers if answer is not None]
        probability = float(np.mean(known)) if len(known) == len(answers) else 0.5
        if config.no_match_up_to < probability < config.match_from:
            made.dropped["undecided"] += 1
            continue
        made.rows.append(_row(*pair, int(probability > 0.5), _origin(config, "labels")) | {"critic": probability})
    return made


def _demonstrations(
    config: GenerateConfig, left: Sequence[str], right: Sequence[str]
) -> list[list[tuple[str, str, int]]]:
    """Return, for each pair, its most similar labelled pairs, half matches and half not, which share no text with it."""
    if config.demonstrations is None:
        return [[] for _ in left]
    teacher = teacher_of(config)
    solved = labelled(
        trainable_pairs(config.demonstrations, columns=None, name="demonstrations"), name="demonstrations"
    )
    a, b, label = solved["text1"][:], solved["text2"][:], labels_of(solved)
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
    pairs = labelled(trainable_pairs(config.seeds, columns=config.columns, name="seeds"), name="seeds")
    rows = list(zip(pairs["text1"][:], pairs["text2"][:], labels_of(pairs).tolist(), strict=True))
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
    "relabel": _relabel,
    "labels": _labels,
    "rationales": _rationales,
}


def _filter(made: Made, config: GenerateConfig, endpoint: Endpoint) -> None:
    """Drop pairs of one text, repeated pairs, near copies of excluded texts, and pairs that the critic does not accept."""
    rows, known = [], set()
    for row in made.rows:
        key = frozenset(row[side].casefold() for side in ("text1", "text2"))
        made.dropped["same text" if len(key) == 1 else "repeated"] += len(key) == 1 or key in known
        if len(key) == 2 and key not in known:
            rows.append(row)
        known.add(key)
    excluded = [text for path in config.exclude for side in _sides(path, config) for text in side]
    copies = near_copies([row["text2"] for row in rows], excluded) | near_copies(
        [row["text1"] for row in rows], excluded if config.kind == "relabel" else []
    )
    made.dropped["near copy"] += int(copies.sum())
    rows = [row for row, is_copy in zip(rows, copies, strict=True) if not is_copy]
    if rows and config.critic != "none":
        kept, probability = Critic(config, endpoint).judge(rows)
        made.dropped["critic"] += int((~kept).sum())
        rows = [row | {"critic": round(float(p), 4)} for row, p, k in zip(rows, probability, kept, strict=True) if k]
    if not rows:
        raise DataError(
            f"no generated pair is left; thrown out: {dict(made.dropped)}; look at the replies in {config.output}{CACHE}, "
            "or change the templates or the bounds of the critic"
        )
    made.rows = rows


def _sides(path: str, config: GenerateConfig) -> list[list[str]]:
    pairs = read_pairs(path, columns=config.columns, only=("text1", "text2"))
    return [pairs["text1"][:], pairs["text2"][:]]
