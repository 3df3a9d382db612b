"""What is compared with what, in which unit, and the bar of each ratio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SMALLER_IS_BETTER = ("seconds", "bytes")
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Ratio:
    """ratio = ours / peer, both in `unit`; the bar is a least value, or a most for seconds and bytes.

    With `same_as` the ratio counts only if ours scores as that contender does.
    """

    name: str
    ours: str
    peer: str
    unit: str
    bar: float | None
    same_as: str | None = None

    @property
    def contenders(self) -> list[str]:
        """All that must run for it."""
        return [name for name in (self.ours, self.peer, self.same_as) if name]

    @property
    def bar_text(self) -> str:
        """The bar in words."""
        which = "at most" if self.unit in SMALLER_IS_BETTER else "at least"
        return "-" if self.bar is None else f"{which} {self.bar:g}"


RATIOS = (
    Ratio("train_plain_vs_trl", "train_plain", "train_trl", "pairs/s", 15),
    Ratio("train_plain_vs_sentence_transformers", "train_plain", "train_sentence_transformers", "pairs/s", 15),
    Ratio("train_gemm_share", "train_plain", "gemm", "FLOP/s", 0.6),
    Ratio("flipped_joint_cost", "train_flipped_joint", "train_plain", "seconds", 1.15),
    Ratio("flipped_separate_cost", "train_flipped_separate", "train_plain", "seconds", 1.8),
    Ratio("score_vs_sentence_transformers", "score", "score_sentence_transformers", "pairs/s", 1.15),
    Ratio("score_vs_generate", "score", "score_generate", "pairs/s", 4),
    Ratio("score_vs_llama_cpp", "score", "score_llama_cpp", "pairs/s", 1),
    Ratio(
        "score_int8_vs_sentence_transformers",
        "score_int8",
        "score_sentence_transformers",
        "pairs/s",
        1.6,
        same_as="score",
    ),
    Ratio("score_gemm_share", "score", "gemm", "FLOP/s", 0.75),
    Ratio("rank_reuse_vs_joint", "rank", "rank_joint", "pairs/s", 4),
    Ratio("rank_reuse_vs_joint_64_tokens", "rank_long", "rank_joint_long", "pairs/s", 4),
    Ratio("rank_vs_sentence_transformers", "rank", "rank_sentence_transformers", "pairs/s", None),
    Ratio("rank_vs_generate", "rank", "rank_generate", "pairs/s", None),
    Ratio("rank_vs_llama_cpp", "rank", "rank_llama_cpp", "pairs/s", None),
    Ratio("rank_vs_cross_encoder", "rank", "rank_cross_encoder", "pairs/s", None),
    Ratio("memory_100k_vs_10k", "memory_100k", "memory_10k", "bytes", 1.2),
    Ratio("train_compiled_vs_trl", "train_compiled", "train_trl", "pairs/s", 15),
    Ratio("train_compiled_gemm_share", "train_compiled", "gemm", "FLOP/s", 0.6),
    Ratio("score_512_vs_256_pairs", "score_double", "score", "pairs/s", 0.9),
    Ratio("score_128_vs_16_tokens", "score_long", "score_short", "FLOP/s", 0.9),
    Ratio("train_128_vs_16_tokens", "train_long", "train_short", "FLOP/s", 0.9),
    Ratio("startup_vs_loading", "startup_match", "startup_load", "seconds", 1.5),
)


def value(line: Line, unit: str) -> float:
    """What one repetition reached, in a ratio's unit."""
    if unit == "bytes":
        return float(line["peak_memory_bytes"])
    seconds = float(line["seconds"])
    return seconds if unit == "seconds" else line["pairs" if unit == "pairs/s" else "flops"] / seconds
