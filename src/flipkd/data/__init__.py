"""Read, check and split text pairs; no text is in two parts of a split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flipkd.data.check import CheckReport, check_pairs, require_trainable
    from flipkd.data.folds import Folds, cut_folds
    from flipkd.data.leakage import Leak, leaks, leaks_by_side
    from flipkd.data.pairs import read_blocks, read_pairs
    from flipkd.data.pool import Pool, read_pool
    from flipkd.data.split import split_pairs
    from flipkd.data.texts import read_texts

__all__ = [
    "CheckReport",
    "Folds",
    "Leak",
    "Pool",
    "check_pairs",
    "cut_folds",
    "leaks",
    "leaks_by_side",
    "read_blocks",
    "read_pairs",
    "read_pool",
    "read_texts",
    "require_trainable",
    "split_pairs",
]

_MODULES = {
    "CheckReport": "check",
    "Folds": "folds",
    "Leak": "leakage",
    "Pool": "pool",
    "check_pairs": "check",
    "cut_folds": "folds",
    "leaks": "leakage",
    "leaks_by_side": "leakage",
    "read_blocks": "pairs",
    "read_pairs": "pairs",
    "read_pool": "pool",
    "read_texts": "texts",
    "require_trainable": "check",
    "split_pairs": "split",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
