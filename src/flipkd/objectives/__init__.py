"""Training objectives: functions from one MatchBatch to one number, found by name in OBJECTIVES."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flipkd.objectives.answer import (
        answer_cross_entropy,
        answer_with_teacher,
        bernoulli_kd,
        margin_mse,
        pairwise_pref_kl,
        ranknet_distill,
    )
    from flipkd.objectives.batch import MatchBatch
    from flipkd.objectives.consistency import order_consistency
    from flipkd.objectives.in_batch import in_batch_kl, score_mse
    from flipkd.objectives.labels import cosent, info_nce
    from flipkd.objectives.margin import margin_angular, margin_hinge
    from flipkd.objectives.ranking import list_mle, teacher_rank_hinge
    from flipkd.objectives.relations import rkd_angle, rkd_distance, similarity_preserving
    from flipkd.objectives.selection import dual_threshold

__all__ = [
    "OBJECTIVES",
    "MatchBatch",
    "answer_cross_entropy",
    "answer_with_teacher",
    "bernoulli_kd",
    "cosent",
    "dual_threshold",
    "in_batch_kl",
    "info_nce",
    "list_mle",
    "margin_angular",
    "margin_hinge",
    "margin_mse",
    "order_consistency",
    "pairwise_pref_kl",
    "ranknet_distill",
    "rkd_angle",
    "rkd_distance",
    "score_mse",
    "similarity_preserving",
    "teacher_rank_hinge",
]

OBJECTIVES: dict[str, str] = {
    "answer_cross_entropy": "flipkd.objectives.answer:answer_cross_entropy",
    "answer_with_teacher": "flipkd.objectives.answer:answer_with_teacher",
    "bernoulli_kd": "flipkd.objectives.answer:bernoulli_kd",
    "margin_mse": "flipkd.objectives.answer:margin_mse",
    "pairwise_pref_kl": "flipkd.objectives.answer:pairwise_pref_kl",
    "ranknet_distill": "flipkd.objectives.answer:ranknet_distill",
    "order_consistency": "flipkd.objectives.consistency:order_consistency",
    "in_batch_kl": "flipkd.objectives.in_batch:in_batch_kl",
    "score_mse": "flipkd.objectives.in_batch:score_mse",
    "margin_hinge": "flipkd.objectives.margin:margin_hinge",
    "margin_angular": "flipkd.objectives.margin:margin_angular",
    "teacher_rank_hinge": "flipkd.objectives.ranking:teacher_rank_hinge",
    "list_mle": "flipkd.objectives.ranking:list_mle",
    "similarity_preserving": "flipkd.objectives.relations:similarity_preserving",
    "rkd_distance": "flipkd.objectives.relations:rkd_distance",
    "rkd_angle": "flipkd.objectives.relations:rkd_angle",
    "cosent": "flipkd.objectives.labels:cosent",
    "info_nce": "flipkd.objectives.labels:info_nce",
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
