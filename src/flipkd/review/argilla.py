"""Argilla: records with suggestions as `dataset.records.from_json` reads them, and the votes of `to_json`.

Formats: `Record.from_dict` and `Record.to_dict` of argilla 2.8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flipkd.data.labels import label_at
from flipkd.review.queue import QueuedPair, Vote

LABEL = "label"
MATCH, NO_MATCH = "match", "no_match"


def records(pairs: Sequence[QueuedPair]) -> list[dict[str, Any]]:
    """Return a record for each pair; its id is the key of the pair, and the suggestion is the likelier label."""
    return [
        {
            "id": pair.key,
            "fields": {"text1": pair.text1, "text2": pair.text2},
            "metadata": {"probability": pair.probability, "decision": pair.decision, "reason": pair.reason},
            "suggestions": {
                LABEL: {
                    "value": MATCH if pair.probability >= 0.5 else NO_MATCH,
                    "score": max(pair.probability, 1 - pair.probability),
                    "agent": f"flipkd-{pair.matcher}",
                }
            },
            "responses": {},
            "vectors": {},
        }
        for pair in pairs
    ]


def is_export(first: Mapping[str, Any]) -> bool:
    """True for a record of `dataset.records.to_json`."""
    return "fields" in first and "responses" in first


def votes(exported: Sequence[Mapping[str, Any]]) -> Iterator[Vote]:
    """Iterate over the votes of exported records. Raises DataError for a value that is no label."""
    for record in exported:
        for response in (record.get("responses") or {}).get(LABEL) or []:
            label = label_at(response.get("value"), "a response of Argilla")
            if label is not None:
                yield Vote(str(record["id"]), str(response.get("user_id")), label)
