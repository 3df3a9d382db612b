"""Indexes to search in: one in memory that never changes, and one of LanceDB that takes new entries while it is searched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flipkd.files import read_json
from flipkd.index.hits import Floats, Hit, SearchIndex
from flipkd.index.memory import HEADER, Index

if TYPE_CHECKING:
    from flipkd.index.lance import LanceIndex

__all__ = ["Floats", "Hit", "Index", "SearchIndex", "open_index"]


def open_index(folder: str | Path) -> Index | LanceIndex:
    """Open an index of either engine. Raises ArtefactError when it is damaged, ConfigError without the extra [index].

    Examples:
        >>> from flipkd import open_index
        >>> len(open_index("faq-index"))
        2
    """
    header = Path(folder) / HEADER
    values = read_json(header) if header.is_file() else None
    if isinstance(values, dict) and values.get("engine") == "lancedb":
        from flipkd.index.lance import LanceIndex

        return LanceIndex.open(folder)
    return Index.load(folder)
