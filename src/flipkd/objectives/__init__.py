"""Training objectives: from one MatchBatch to one number, found by name in OBJECTIVES.

An objective is a function, or a class of nn.Module whose objects have parameters of their own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flipkd.objectives.batch import MatchBatch

OBJECTIVES: dict[str, str] = {
    "answer_cross_entropy": "flipkd.objectives.answer:answer_cross_entropy",
    "answer_with_teacher": "flipkd.objectives.answer:answer_with_teacher",
    "bernoulli_kd": "flipkd.objectives.answer:bernoulli_kd",
    "margin_mse": "flipkd.objectives.answer:margin_mse",
    "pairwise_pref_kl": "flipkd.objectives.answer:pairwise_pref_kl",
    "ranknet_distill": "flipkd.objectives.answer:ranknet_distill",
    "order_consistency": "flipkd.objectives.answer:order_consistency",
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
    "jsd_kd": "flipkd.objectives.noisy:jsd_kd",
    "hard_kd": "flipkd.objectives.noisy:hard_kd",
    "standardised_kd": "flipkd.objectives.noisy:standardised_kd",
    "sample_fusion": "flipkd.objectives.noisy:sample_fusion",
    "symmetric_cross_entropy": "flipkd.objectives.noisy:symmetric_cross_entropy",
    "list_kl": "flipkd.objectives.lists:list_kl",
    "list_softmax": "flipkd.objectives.lists:list_softmax",
    "joint_lists": "flipkd.objectives.lists:joint_lists",
    "self_distill_heads": "flipkd.objectives.lists:self_distill_heads",
    "top_k_kl": "flipkd.objectives.in_batch:top_k_kl",
    "pkt": "flipkd.objectives.relations:pkt",
    "mixed_gram": "flipkd.objectives.relations:mixed_gram",
    "prototype_kd": "flipkd.objectives.relations:prototype_kd",
    "passage_info_nce": "flipkd.objectives.contrast:passage_info_nce",
    "adaptive_margin": "flipkd.objectives.contrast:adaptive_margin",
    "gaussian_decay_info_nce": "flipkd.objectives.contrast:gaussian_decay_info_nce",
    "attract_repel": "flipkd.objectives.contrast:attract_repel",
    "simcse": "flipkd.objectives.contrast:simcse",
    "set_info_nce": "flipkd.objectives.contrast:set_info_nce",
    "embed_align": "flipkd.objectives.projections:EmbedAlign",
    "ckd_info_nce": "flipkd.objectives.projections:CkdInfoNce",
    "wcord": "flipkd.objectives.projections:Wcord",
    "pair_head_kd": "flipkd.objectives.pair_heads:PairHeadKd",
    "pair_relation": "flipkd.objectives.pair_heads:PairRelation",
    "norm_direction": "flipkd.objectives.pair_heads:NormDirection",
    "lelp_subclass": "flipkd.objectives.pair_heads:LelpSubclass",
    "layer_score_kd": "flipkd.objectives.layers:LayerScoreKd",
}
_PUBLIC = OBJECTIVES | {"MatchBatch": "flipkd.objectives.batch:MatchBatch"}

__all__ = ["OBJECTIVES", "MatchBatch", *OBJECTIVES]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(import_module(module), attribute)
