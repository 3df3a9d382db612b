"""flipkd: small models that know the domain teach a large language model to match text."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flipkd.commands.export import export
    from flipkd.commands.teach import teach
    from flipkd.commands.train import train
    from flipkd.commands.verify import verify
    from flipkd.comparison.compare import compare
    from flipkd.data.check import check_pairs
    from flipkd.data.pairs import read_pairs
    from flipkd.data.split import split_pairs
    from flipkd.errors import FlipkdError
    from flipkd.evaluate.metrics import measure
    from flipkd.index import open_index
    from flipkd.index.lance import LanceIndex
    from flipkd.index.memory import Index
    from flipkd.matcher import Matcher
    from flipkd.objectives.batch import MatchBatch
    from flipkd.teachers.store import ScoreStore
    from flipkd.teachers.teacher import Teacher

_PUBLIC = {
    "FlipkdError": "flipkd.errors",
    "Index": "flipkd.index.memory",
    "LanceIndex": "flipkd.index.lance",
    "MatchBatch": "flipkd.objectives.batch",
    "Matcher": "flipkd.matcher",
    "ScoreStore": "flipkd.teachers.store",
    "Teacher": "flipkd.teachers.teacher",
    "check_pairs": "flipkd.data.check",
    "compare": "flipkd.comparison.compare",
    "export": "flipkd.commands.export",
    "measure": "flipkd.evaluate.metrics",
    "open_index": "flipkd.index",
    "read_pairs": "flipkd.data.pairs",
    "split_pairs": "flipkd.data.split",
    "teach": "flipkd.commands.teach",
    "train": "flipkd.commands.train",
    "verify": "flipkd.commands.verify",
}
__all__ = [  # a literal copy of the table's names, which type checkers need
    "FlipkdError",
    "Index",
    "LanceIndex",
    "MatchBatch",
    "Matcher",
    "ScoreStore",
    "Teacher",
    "__version__",
    "check_pairs",
    "compare",
    "export",
    "measure",
    "open_index",
    "read_pairs",
    "split_pairs",
    "teach",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import flipkd` and `flipkd --help` need no torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
