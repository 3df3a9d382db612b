"""What is measured, in order of importance, and how large it is: in full for a GPU, tiny for a test on a CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

AGAIN = 3  # exit code of one_process.py: the rest is for a new process
LAYERS_OF_7B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 8,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,  # the body is what is measured; a head of its own would be another 2 GB to load
}
TINY_LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@dataclass(frozen=True)
class Size:
    """Sizes of everything; `estimates` is what scales the seconds that measurements are expected to take."""

    product: int  # rows and columns of the matrices
    copied_bytes: int
    pairs: int  # distinct ones; training sees the first `training_pairs` of them again and again
    training_pairs: int
    words: tuple[int, int]  # of a made-up text, least and most
    warm_steps: int  # without anything compiled, before the clock starts
    window: float  # seconds that are measured
    batches: tuple[int, ...]  # pairs per step
    score_batches: tuple[int, ...]
    tokens: tuple[int, ...]  # per step of the 7B-shaped layers, the most telling first
    shape: Mapping[str, Any]
    estimates: float


FULL = Size(
    product=8192,
    copied_bytes=2**30,
    pairs=32_768,
    training_pairs=8192,
    words=(6, 17),
    warm_steps=30,
    window=4.0,
    batches=(64, 128, 256, 32),
    score_batches=(256, 1024, 64),
    tokens=(8192, 32_768, 2048),
    shape=LAYERS_OF_7B,
    estimates=1.0,
)
TINY = Size(
    product=128,
    copied_bytes=2**20,
    pairs=64,
    training_pairs=32,
    words=(1, 4),
    warm_steps=2,
    window=0.05,
    batches=(4,),
    score_batches=(8,),
    tokens=(512, 256),
    shape=TINY_LAYERS,
    estimates=0.1,
)


@dataclass(frozen=True)
class Measurement:
    """One figure: the function that finds it, the seconds it is expected to take, and its settings."""

    name: str
    function: str
    estimate: float
    settings: Mapping[str, Any] = field(default_factory=dict)


def measurements(size: Size) -> list[Measurement]:
    """All of them, most important first."""
    found = [Measurement("product", "card:product", 3), Measurement("copy", "card:copy", 2)]
    found += [_trained("student", kind, None) for kind in ("flipped", "plain")]
    found += [_scored("student", None)]
    found += [_trained("layers", kind, size.tokens[0]) for kind in ("plain", "flipped")]
    found += [_scored("layers", None)]
    found += [_peer("student", peer, None) for peer in ("trl", "sentence_transformers", "trl_packed")]
    found += [_peer("layers", peer, size.tokens[0]) for peer in ("trl", "sentence_transformers", "trl_packed")]
    found += [Measurement("student_score_sentence_transformers", "peers_on_card:score", 12, {"model": "student"})]
    for tokens in size.tokens[1:]:
        found += [_trained("layers", kind, tokens) for kind in ("plain", "flipped")]
    found += [_trained("student", "flipped", batch) for batch in size.batches]
    found += [_scored("student", batch) for batch in size.score_batches]
    found += [_scored("layers", tokens) for tokens in size.tokens]
    return found + [_trained("student", "plain", batch) for batch in size.batches]


def select(size: Size, names: Sequence[str] | None) -> list[Measurement]:
    """Those of the names, in the usual order; all without names."""
    return [measurement for measurement in measurements(size) if not names or measurement.name in names]


def _trained(model: str, kind: str, amount: int | None) -> Measurement:
    return _sized(f"{model}_train_{kind}", "training:train", model, amount, {"kind": kind})


def _scored(model: str, amount: int | None) -> Measurement:
    return _sized(f"{model}_score", "scoring:score", model, amount, {})


def _peer(model: str, peer: str, amount: int | None) -> Measurement:
    return _sized(f"{model}_train_{peer}", "peers_on_card:train", model, amount, {"peer": peer})


def _sized(name: str, function: str, model: str, amount: int | None, settings: Mapping[str, Any]) -> Measurement:
    """The student's amount is pairs per step, None for the default; that of the layers is tokens per step."""
    unit = "batch" if model == "student" else "tokens"
    ending = "" if amount is None else f"_{amount}" + ("_tokens" if unit == "tokens" else "")
    estimate = {"training:train": 20, "scoring:score": 10, "peers_on_card:train": 20}[function]
    return Measurement(
        name + ending, function, estimate + (5 if model == "layers" else 0), {"model": model, unit: amount, **settings}
    )
