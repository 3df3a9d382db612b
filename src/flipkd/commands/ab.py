"""ab: compare the outcomes of two versions that answered different clients at the same time."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from flipkd.command_config import AbConfig
from flipkd.commands.results import text_table
from flipkd.data.scored import join_columns, read_by_id, read_columns, scored_files
from flipkd.errors import DataError, UsageError, shorten
from flipkd.watch.experiment import analyse, sample_ratio

logger = logging.getLogger(__name__)


class Answer(NamedTuple):
    """Who was answered by which version."""

    version: str
    client: str


def ab(config: AbConfig) -> dict[str, Any]:
    """Return the success rates of two versions, their difference, and whether clients were shared out as intended.

    Raises DataError for outcomes that do not fit the log, UsageError for a version that it does not have or when it has not
    two and none are chosen.
    """
    answers, has_clients = _answers(config)
    control, treatment = _versions(config, answers)
    answers = {name: answer for name, answer in answers.items() if answer.version in (control, treatment)}
    clients = _clients(answers)
    outcomes = read_by_id(config.outcomes, "outcome")
    joined = [(answers[name], outcome) for name, outcome in outcomes.items() if name in answers]
    joined = [(answer, outcome) for answer, outcome in joined if answer.client in clients]
    counts = Counter(answer.version for answer, _ in joined)
    for version in (control, treatment):
        if not counts[version]:
            raise DataError(f"{config.outcomes}: no outcome has the id of an answer by version {shorten(version)}")
    numbers = {name: number for number, name in enumerate(clients)}
    found = analyse(
        np.array([outcome for _, outcome in joined], np.int64),
        np.array([answer.version == treatment for answer, _ in joined]),
        np.array([numbers[answer.client] for answer, _ in joined], np.int64),
        share=config.share,
        alpha=config.alpha,
    )
    treated = sum(version == treatment for version in clients.values())
    answered = Counter(answer.version for answer in answers.values())
    for role, version in (("control", control), ("treatment", treatment)):
        found[role] = {"version": version, "answers": answered[version], **found[role]}
    return {
        "alpha": config.alpha,
        "clients_known": has_clients,
        "sample_ratio": sample_ratio(treated, len(clients), share=config.share),
        **found,
    }


def _answers(config: AbConfig) -> tuple[dict[str, Answer], bool]:
    """Read id -> answer, and whether the log has clients; without them each answer is its own client."""
    parts = [read_columns(file, required=("id", config.by), optional=("client",)) for file in scored_files(config.log)]
    columns = join_columns(parts)
    has_clients = any(client is not None for client in columns["client"])
    answers: dict[str, Answer] = {}
    for row, (name, version, client) in enumerate(zip(*columns.values(), strict=True), 1):
        if name is None or version is None:
            raise DataError(f"{config.log}: row {row} has no id or no {config.by}; an experiment needs both")
        answer = Answer(str(version), str(name if client is None else client))
        if answers.setdefault(str(name), answer) != answer:
            raise DataError(
                f"{config.log}: row {row}: the id {shorten(str(name))} was answered twice, by different versions"
            )
    if not has_clients:
        logger.warning("%s: has no clients; each answer counts as a client of its own", config.log)
    return answers, has_clients


def _versions(config: AbConfig, answers: Mapping[str, Answer]) -> tuple[str, str]:
    """Return the control and the treatment."""
    present = sorted({answer.version for answer in answers.values()})
    shown = ", ".join(map(shorten, present[:10]))
    for version in (config.control, config.treatment):
        if version is not None and version not in present:
            hint = "; --by matcher chooses by the names of matchers" if config.by == "version" else ""
            raise UsageError(f"{config.log}: has no {config.by} {shorten(version)}; it has {shown}{hint}")
    chosen = [config.control, config.treatment]
    left = [version for version in present if version not in chosen]
    if chosen.count(None) != len(left) and None in chosen:
        raise UsageError(f"{config.log}: choose two versions with --control and --treatment; it has {shown}")
    control, treatment = (left.pop(0) if version is None else version for version in chosen)
    if control == treatment:
        raise UsageError(f"--control and --treatment are both {shorten(control)}; give two versions")
    return control, treatment


def _clients(answers: Mapping[str, Answer]) -> dict[str, str]:
    """Return client -> version; a client whom both versions answered is left out, with a warning."""
    seen: dict[str, set[str]] = defaultdict(set)
    for answer in answers.values():
        seen[answer.client].add(answer.version)
    if crossed := sum(len(versions) > 1 for versions in seen.values()):
        logger.warning("%d of %d clients were answered by both versions and are left out", crossed, len(seen))
    return {client: next(iter(versions)) for client, versions in seen.items() if len(versions) == 1}


def ab_text(result: Mapping[str, Any]) -> str:
    """Return the two versions as a table, and what follows from them in sentences."""
    rows = []
    for role in ("control", "treatment"):
        found = result[role]
        cells = [role, found["version"], *(str(found[key]) for key in ("clients", "answers", "outcomes", "successes"))]
        rows.append([*cells, f"{found['rate']:.4f}", f"{found['low']:.4f} to {found['high']:.4f}"])
    header = ["", "version", "clients", "answers", "outcomes", "successes", "rate", "95 % interval"]
    once, always, ratio = result["difference"], result["sequential"], result["sample_ratio"]
    level = f"{100 * (1 - result['alpha']):g} %"
    lines = [text_table(header, rows), ""]
    lines.append(
        f"difference: {once['value']:+.4f}; one look at the end: {once['low']:+.4f} to {once['high']:+.4f} (95 %)"
    )
    lines.append(
        f"at any time: {always['low']:+.4f} to {always['high']:+.4f} ({level}), p = {always['p_value']:.3g}, from the first "
        f"outcome of {always['clients']} clients"
    )
    if ratio["mismatch"]:
        lines.append(
            f"SAMPLE RATIO MISMATCH: {ratio['share']:.1%} of the clients got the treatment, intended were "
            f"{ratio['intended']:.1%} (p = {ratio['p_value']:.2g}); find the cause before you trust any figure here"
        )
    else:
        lines.append(_decision(result))
        lines.append(
            f"clients of the treatment: {ratio['share']:.1%}, intended {ratio['intended']:.1%} (p = {ratio['p_value']:.2g})"
        )
    return "\n".join(lines)


def _decision(result: Mapping[str, Any]) -> str:
    found = result["sequential"]
    decided = found["decided_at_outcome"]
    if decided is None:
        return "not decided: go on, or stop without a finding"
    # Not by the difference of all outcomes: a client with many of them may turn its sign.
    better = "better" if found["low"] + found["high"] > 0 else "worse"
    return f"decided since outcome {decided}: the treatment is {better}"
