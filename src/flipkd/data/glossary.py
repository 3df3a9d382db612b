"""read_glossary: read a file of terms and their definitions."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from flipkd.data.texts import read_texts
from flipkd.errors import DataError
from flipkd.text import normal_text

TERM, DEFINITION = "term", "definition"


def read_glossary(path: str | Path) -> dict[str, list[str]]:
    """Read the definitions of each term, from the columns `term` and `definition`; a term may have several rows.

    Raises DataError for a definition that is empty or no text.
    """
    terms, kept = read_texts(path, column=TERM, keep=[DEFINITION])
    found: dict[str, list[str]] = {}
    for row, (term, definition) in enumerate(zip(terms, kept[DEFINITION], strict=True), start=1):
        if not isinstance(definition, str) or not definition.strip():
            raise DataError(f"{path}: row {row}, column {DEFINITION}: is empty or no text; fill or remove it")
        found.setdefault(normal_text(term), []).append(normal_text(definition))
    return found


def glossary_entry(path: str | None) -> dict[str, str]:
    """Return {"glossary_hash": hash of its content}, or {} without one."""
    return (
        {} if path is None else {"glossary_hash": hashlib.sha256(json.dumps(read_glossary(path)).encode()).hexdigest()}
    )
