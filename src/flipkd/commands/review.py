"""review: the pairs of a review queue as files for labelling tools and for training, and the labels that come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flipkd.command_config import (
    ReviewExportConfig,
    ReviewImportConfig,
    ReviewListConfig,
    ReviewPairsConfig,
    ReviewStatsConfig,
)
from flipkd.commands.match_rows import to_csv, to_jsonl
from flipkd.commands.results import require_new, require_writable, text_table
from flipkd.commands.review_teacher import load_review_teacher, missing_scores
from flipkd.commands.review_votes import read_votes
from flipkd.errors import DataError, UsageError
from flipkd.files import write_json, write_text
from flipkd.review import argilla, label_studio
from flipkd.review.agreement import annotators, final_label, in_conflict, kappas
from flipkd.review.estimates import base_rate, groups_of
from flipkd.review.queue import QueuedPair, ReviewQueue
from flipkd.review.selection import select

MARK = "votes"  # a column of write_labelled
ENDINGS = {"label-studio": ".json", "argilla": ".json", "csv": ".csv"}
TABLES = (".csv", ".jsonl")
WORDS = {1: "match", 0: "no match", None: "skipped"}


def export_pairs(config: ReviewExportConfig) -> dict[str, Any]:
    """Write the selected pairs for a labelling tool; returns their number, and the file of the labelling configuration if any.

    Raises UsageError for an output of another type, DataError when no pair is left to label, ConfigError for a teacher without
    vectors, where `select` needs them.
    """
    output = Path(config.output)
    if output.suffix != ENDINGS[config.to]:
        raise UsageError(f"{output}: a file for {config.to} ends with {ENDINGS[config.to]}")
    require_new(output)  # an earlier export may have labels by now
    configuration = output.with_suffix(".xml")
    if config.to == "label-studio" and not _is_configuration(configuration):
        require_new(configuration)
    with ReviewQueue(config.queue) as queue:
        pairs = [pair for pair in queue.pairs() if len(pair.labels) < config.votes]
        if not pairs:
            wanted = "a label" if config.votes == 1 else f"{config.votes} labels"
            raise DataError(
                f"{config.queue}: every pair has {wanted}, so nothing is left to export; --votes {config.votes + 1} "
                "exports them again, for another person"
            )
        teacher = load_review_teacher(config.teacher, select=config.select)
        if teacher is not None and config.select == "disagreement":
            queue.set_teacher_scores(missing_scores(teacher, pairs))
            known = {pair.key for pair in pairs}
            pairs = [pair for pair in queue.pairs() if pair.key in known]
    vectors = None if teacher is None else teacher.embed
    found = [_without_nul(pair) for pair in select(pairs, config.select, limit=config.limit, vectors=vectors)]
    done: dict[str, Any] = {"pairs": len(found), "output": str(output)}
    if config.to == "csv":
        write_text(output, to_csv([_csv_row(pair) for pair in found]))
    else:
        write_json(output, label_studio.tasks(found) if config.to == "label-studio" else argilla.records(found))
    if config.to == "label-studio":
        done["configuration"] = str(write_text(configuration, label_studio.CONFIG))
    return done


def _is_configuration(path: Path) -> bool:
    """Return whether the file is what an earlier export wrote there."""
    return path.is_file() and path.read_bytes() == label_studio.CONFIG.encode()


def _without_nul(pair: QueuedPair) -> QueuedPair:
    """Remove NUL, which a client may have sent and no model sees: readers of pairs and labelling tools refuse a text with it."""
    return replace(pair, text1=pair.text1.replace("\0", ""), text2=pair.text2.replace("\0", ""))


def _csv_row(pair: QueuedPair) -> dict[str, Any]:
    shown = {"text1": pair.text1, "text2": pair.text2, "label": None, "annotator": None}
    return shown | {"probability": pair.probability, "decision": pair.decision, "reason": pair.reason, "key": pair.key}


def import_votes(config: ReviewImportConfig) -> dict[str, int]:
    """Add the labels of a file to the queue; returns the numbers of new, changed, equal and unknown ones.

    Raises DataError for a file without labels, or none of whose pairs is in the queue.
    """
    votes = read_votes(config.file, annotator=config.annotator or Path(config.file).stem)
    if not votes:
        raise DataError(
            f"{config.file}: has no label of any pair; fill its column label, or label pairs in the tool and export them again"
        )
    with ReviewQueue(config.queue) as queue:
        counts = queue.add_votes(votes, source="import")
    if counts["unknown"] == len(votes):
        raise DataError(
            f"{config.file}: none of its {len(votes)} labelled pairs is in {config.queue}; is it the right queue?"
        )
    return counts


def list_pairs(config: ReviewListConfig) -> list[dict[str, Any]]:
    """Return the first pairs of the queue in this state, the most doubtful ones first."""
    with ReviewQueue(config.queue) as queue:
        pairs = select(
            [pair for pair in queue.pairs() if _has_state(pair, config.state)], "doubtful", limit=config.limit
        )
    return [
        {
            "text1": pair.text1,
            "text2": pair.text2,
            "probability": pair.probability,
            "decision": pair.decision,
            "reason": pair.reason,
            "seen": pair.seen,
            "votes": ", ".join(f"{annotator}: {WORDS[label]}" for annotator, label in pair.votes.items()),
            "last_seen": pair.last_seen[:10],
        }
        for pair in pairs
    ]


def _has_state(pair: QueuedPair, state: str) -> bool:
    states = {"all": True, "open": not pair.labels, "labelled": bool(pair.labels), "conflict": in_conflict(pair)}
    return states[state]


def queue_stats(config: ReviewStatsConfig) -> dict[str, Any]:
    """Count pairs and labels, compare the annotators, and estimate the share of matches among all scored pairs."""
    with ReviewQueue(config.queue) as queue:
        pairs = queue.pairs()
    groups = groups_of(pairs, unanimous=config.unanimous)
    rate = base_rate(groups)
    return {
        "pairs": len(pairs),
        "labelled": sum(bool(pair.labels) for pair in pairs),
        "conflicts": sum(in_conflict(pair) for pair in pairs),
        "undecided": sum(bool(p.labels) and final_label(p, unanimous=config.unanimous) is None for p in pairs),
        "groups": [
            {name: value for name, value in asdict(group).items() if "variance" not in name} for group in groups
        ],
        "base_rate": None if rate is None else {"share": rate[0], "standard_error": rate[1]},
        "annotators": annotators(pairs),
        "agreement": kappas(pairs),
    }


def write_labelled(config: ReviewPairsConfig) -> dict[str, int]:
    """Write the pairs with a final label as a file of pairs; returns the numbers of pairs, matches and undecided pairs.

    Columns: text1, text2, label; weight (scored pairs that a row represents), votes and key, which the readers ignore.
    Raises UsageError for another file type, DataError when no pair has a label.
    """
    output = Path(config.output)
    if output.suffix not in TABLES:
        raise UsageError(f"{output}: unknown file type; name the file {' or '.join(TABLES)}")
    require_writable(output, mark=MARK)
    with ReviewQueue(config.queue) as queue:
        voted = [_without_nul(pair) for pair in queue.pairs() if pair.labels]
    labels = [final_label(pair, unanimous=config.unanimous) for pair in voted]
    rows = [_labelled_row(pair, label) for pair, label in zip(voted, labels, strict=True) if label is not None]
    if not rows:
        raise DataError(
            f"{config.queue}: no pair has a final label; label some at /review of the server, or import labels"
        )
    write_text(output, to_csv(rows, guard=False) if output.suffix == ".csv" else to_jsonl(rows))
    return {"pairs": len(rows), "matches": sum(row["label"] for row in rows), "undecided": len(voted) - len(rows)}


def _labelled_row(pair: QueuedPair, label: int) -> dict[str, Any]:
    shown = {"text1": pair.text1, "text2": pair.text2, "label": label}
    return shown | {"weight": round(pair.weight, 6), "votes": len(pair.labels), "key": pair.key}


def stats_text(stats: Mapping[str, Any]) -> str:
    """Return the statistics of a queue as readable tables."""
    lines = [
        f"{stats['pairs']} pairs, {stats['labelled']} labelled, {stats['conflicts']} with different labels, "
        f"{stats['undecided']} labelled but undecided"
    ]
    groups = [
        [g["decision"], g["reason"], str(g["pairs"]), f"{g['represents']:.0f}", str(g["labelled"])]
        + ["?" if g["matches"] is None else f"{g['matches']:.1%}"]
        for g in stats["groups"]
    ]
    lines += _table(("decision", "reason", "pairs", "scored pairs", "labelled", "matches"), groups)
    rate = stats["base_rate"]
    if rate is not None:
        lines += [
            "",
            f"matches among all scored pairs: {rate['share']:.2%} (standard error {rate['standard_error']:.2%})",
        ]
    people = [[name, *(str(count) for count in counts.values())] for name, counts in stats["annotators"].items()]
    lines += _table(("annotator", "match", "no match", "skipped"), people)
    both = [
        [
            *row["annotators"],
            str(row["pairs"]),
            f"{row['equal']:.1%}",
            "?" if row["kappa"] is None else f"{row['kappa']:.2f}",
        ]
        for row in stats["agreement"]
    ]
    lines += _table(("annotator", "and", "pairs", "equal", "Cohen's kappa"), both)
    return "\n".join(lines)


def _table(header: Sequence[str], rows: list[list[str]]) -> list[str]:
    return ["", text_table(header, rows)] if rows else []
