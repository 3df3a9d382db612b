"""generate: training pairs from a language model behind an endpoint, kept only where a critic agrees."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from flipkd.command_config import GenerateConfig
from flipkd.commands.critic import judge
from flipkd.commands.generated_rows import KINDS, Made
from flipkd.commands.row_file import require_row_file, write_rows
from flipkd.data.pairs import read_pairs, sides_of
from flipkd.errors import ConfigError, DataError, UsageError, nearest
from flipkd.extras import require_extra
from flipkd.generate import prompts
from flipkd.generate.endpoint import Endpoint
from flipkd.generate.filters import near_copies

logger = logging.getLogger(__name__)
CACHE = ".replies"  # after the name of the output file: the folder of the endpoint's replies

CRITICISED = ("pairs", "relabel")
FILTERED = ("pairs", "edits", "relabel")
# setting -> kinds that use it
USES = {
    "templates": ("pairs",),
    "count": ("pairs", "edits"),
    "critic": CRITICISED,
    "teacher": ("pairs", "relabel", "labels"),
    "validation_file": CRITICISED,
    "match_from": ("pairs", "relabel", "labels"),
    "mismatch_up_to": ("pairs", "relabel", "labels"),
    "exclude": FILTERED,
    "demonstrations": ("labels",),
    "candidates": ("relabel",),
}


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
    if config.kind in FILTERED:
        _filter(made, config, endpoint)
    if endpoint.unsent:
        logger.warning(
            "%d requests were not sent: the budget of %d is used up; the same command with a larger --max_requests continues",
            endpoint.unsent,
            config.max_requests,
        )
    if not made.rows:
        raise DataError(
            f"no generated pair is left; thrown out: {dict(+made.dropped)}; look at the replies in {config.output}{CACHE}, "
            "or change the templates or the bounds of the critic"
        )
    write_rows(output, made.rows)
    labels = Counter(row["label"] for row in made.rows)
    counts = {"pairs": len(made.rows), "match": labels[1], "no_match": labels[0]}
    counts |= {"requests": endpoint.sent, "cached": endpoint.reused}
    return counts | {"dropped": dict(sorted((+made.dropped).items()))}


def _require_settings(config: GenerateConfig) -> None:
    require_extra("train", user="flipkd generate")
    config.refuse_unused(USES, by="kind")
    require_row_file(config.output, source=config.seeds, mark="origin")
    for name in config.templates:
        if name not in prompts.TEMPLATES:
            raise ConfigError(f"templates: no template is called {name!r}; {nearest(name, list(prompts.TEMPLATES))}")
    judged = config.kind in CRITICISED and config.critic == "teacher"
    for name in ("teacher", "validation_file"):
        if judged and not getattr(config, name):
            raise UsageError(f"the critic is the teacher, which needs --{name}; or choose --critic endpoint")
    if config.kind == "labels" and config.mismatch_up_to >= config.match_from:
        raise UsageError(
            f"--mismatch_up_to {config.mismatch_up_to:g} is not below --match_from {config.match_from:g}, so that a probability "
            "between them would have both labels"
        )
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


def _filter(made: Made, config: GenerateConfig, endpoint: Endpoint) -> None:
    """Drop pairs of one text, repeated pairs, near copies of excluded texts, and pairs that the critic does not accept."""
    rows, known = [], set()
    for row in made.rows:
        key = frozenset(row[side].casefold() for side in ("text1", "text2"))
        if len(key) == 1:
            made.dropped["same text"] += 1
        elif key in known:
            made.dropped["repeated"] += 1
        else:
            rows.append(row)
            known.add(key)
    excluded = [text for path in config.exclude for side in _sides(path, config) for text in side]
    copies = near_copies([row["text2"] for row in rows], excluded)
    if config.kind == "relabel":  # its first texts are generated too
        copies |= near_copies([row["text1"] for row in rows], excluded)
    made.dropped["near copy"] += int(copies.sum())
    rows = [row for row, is_copy in zip(rows, copies, strict=True) if not is_copy]
    if rows and config.critic != "none" and config.kind != "edits":  # an edit is meant to look like a match
        kept, probability = judge(rows, config, endpoint)
        made.dropped["critic"] += int((~kept).sum())
        rows = [row | {"critic": round(float(p), 4)} for row, p, k in zip(rows, probability, kept, strict=True) if k]
    made.rows = rows


def _sides(path: str, config: GenerateConfig) -> tuple[list[str], list[str]]:
    return sides_of(read_pairs(path, columns=config.columns, only=("text1", "text2")))
