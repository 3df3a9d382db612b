"""WHAT CAME OUT, FOR OTHERS: numbers of a comparison and one self-contained page about them. Names load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flipkd.report.comparison import Comparison, UnitScores, paired_differences, references, summary_rows
    from flipkd.report.page import render

__all__ = ["Comparison", "UnitScores", "paired_differences", "references", "render", "summary_rows"]

_FILES = {
    "Comparison": "comparison",
    "UnitScores": "comparison",
    "paired_differences": "comparison",
    "references": "comparison",
    "render": "page",
    "summary_rows": "comparison",
}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
