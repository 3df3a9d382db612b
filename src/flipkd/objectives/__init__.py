"""What "learned from the teacher" means: functions from one MatchBatch to one number, found by name in OBJECTIVES."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flipkd.objectives.answer import answer_cross_entropy, bernoulli_kd, margin_mse
    from flipkd.objectives.batch import MatchBatch
    from flipkd.objectives.in_batch import in_batch_kl, score_mse
    from flipkd.objectives.margin import margin_angular, margin_hinge
    from flipkd.objectives.selection import dual_threshold

__all__ = [
    "OBJECTIVES",
    "MatchBatch",
    "answer_cross_entropy",
    "bernoulli_kd",
    "dual_threshold",
    "in_batch_kl",
    "margin_angular",
    "margin_hinge",
    "margin_mse",
    "score_mse",
]

OBJECTIVES: dict[str, str] = {
    "answer_cross_entropy": "flipkd.objectives.answer:answer_cross_entropy",
    "bernoulli_kd": "flipkd.objectives.answer:bernoulli_kd",
    "margin_mse": "flipkd.objectives.answer:margin_mse",
    "in_batch_kl": "flipkd.objectives.in_batch:in_batch_kl",
    "score_mse": "flipkd.objectives.in_batch:score_mse",
    "margin_hinge": "flipkd.objectives.margin:margin_hinge",
    "margin_angular": "flipkd.objectives.margin:margin_angular",
}
_PUBLIC = {
    **OBJECTIVES,
    "MatchBatch": "flipkd.objectives.batch:MatchBatch",
    "dual_threshold": "flipkd.objectives.selection:dual_threshold",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(import_module(module), attribute)
