"""read_glossary: read a file of terms and their definitions."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from flipkd.data.records import read_texts, required_values
from flipkd.text import normal_text

TERM, DEFINITION = "term", "definition"


def read_glossary(path: str | Path) -> dict[str, list[str]]:
    """Read the definitions of each term, from the columns `term` and `definition`; a term may have several rows.

    Raises DataError for an empty definition.
    """
    terms, kept = read_texts(path, column=TERM, keep=[DEFINITION])
    found: dict[str, list[str]] = {}
    definitions = required_values(kept[DEFINITION], path=path, column=DEFINITION)
    for term, definition in zip(terms, definitions, strict=True):
        found.setdefault(normal_text(term), []).append(normal_text(definition))
    return found


def glossary_entry(path: str | None) -> dict[str, str]:
    """Return {"glossary_hash": hash of its content}, or {} without one."""
    return (
        {} if path is None else {"glossary_hash": hashlib.sha256(json.dumps(read_glossary(path)).encode()).hexdigest()}
    )
