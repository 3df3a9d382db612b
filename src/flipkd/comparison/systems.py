"""Systems of a comparison: one record each, and blends of their scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipkd.evaluate.combine import PLUS
from flipkd.report.system import System

NO_OTHERS: Mapping[str, Any] = {"other_teachers": []}
# Labels only: what the flipped student learns from its teachers would be an error without one.
LABELS: Mapping[str, Any] = {"score": "auto", "keep_teacher": "auto", "pair_weights": "equal", **NO_OTHERS}
PAPER: Mapping[str, Any] = {
    "objectives": {"answer_cross_entropy": 1.0, "margin_hinge": 1.0, "in_batch_kl": 1.0},
    "mined_ratio": 0.0,
    "lora_r": 256,
    "lora_alpha": 512,  # the default scale lora_alpha / lora_r
    "lora_target_modules": "all-linear",
    "lora_layers": None,
    "readout_r": 256,
    "keep_teacher": False,
}

_SYSTEMS = (
    System(
        name="always_match",
        run="flipkd.comparison.scorers:always_match",
        kind="baseline",
        label="Decides match for every pair. A system with no higher F1 has learned nothing useful.",
        colour="#bbbbbb",
        trained=False,
    ),
    System(
        name="tfidf",
        run="flipkd.comparison.scorers:tfidf",
        kind="baseline",
        label="Cosine of the character n-grams of two texts, without any meaning: the lower baseline.",
        colour="#8c8c8c",
        trained=False,
    ),
    System(
        name="teacher",
        run="flipkd.comparison.scorers:teacher",
        kind="teacher",
        settings={"fine_tune": False},
        label="The pretrained small encoder, not trained on these pairs.",
        colour="#56b4e9",
        trained=False,
    ),
    System(
        name="teacher_finetuned",
        run="flipkd.comparison.scorers:teacher",
        kind="teacher",
        settings={"fine_tune": True},
        label="The small encoder, fine-tuned on these pairs unless that made it worse: the teacher of the flipped student.",
        colour="#0072b2",
        in_a_sentence="the fine-tuned teacher",
    ),
    System(
        name="cross_encoder",
        run="flipkd.comparison.scorers:teacher",
        kind="teacher",
        settings={"teacher_type": "cross_encoder"},
        label="A small model that encodes both texts together, trained on these pairs: the usual alternative.",
        colour="#cc79a7",
    ),
    System(
        name="untrained",
        has_vectors=False,
        run="flipkd.comparison.scorers:student",
        kind="untrained",
        settings={"init_from": None},
        label="The large language model with the yes-or-no prompt, before any training.",
        colour="#7a2048",
        trained=False,
    ),
    System(
        name="plain",
        has_vectors=False,
        run="flipkd.comparison.scorers:student",
        kind="labels",
        settings={"objectives": {"answer_cross_entropy": 1.0}, **LABELS},
        label="The large language model trained with LoRA on the labels of these pairs only.",
        colour="#e69f00",
        in_a_sentence="the same language model trained on labels alone (plain LoRA)",
    ),
    System(
        name="no_teacher",
        run="flipkd.comparison.scorers:student",
        kind="labels",
        settings={"objectives": {"answer_cross_entropy": 1.0, "cosent": 1.0}, **LABELS},
        label="The large language model, its answer and embeddings trained on labels only: flipped without a teacher.",
        colour="#d55e00",
        in_a_sentence="the same language model whose vectors learn from labels alone (no teacher)",
    ),
    System(
        name="answer_kd",
        has_vectors=False,
        run="flipkd.comparison.scorers:student",
        kind="distilled",
        settings={
            "objectives": {"answer_cross_entropy": 1.0, "pairwise_pref_kl": 1.0},
            "score": "auto",
            "keep_teacher": False,
        },
        label="The large language model with its answer trained on labels and teacher; its embeddings are not trained.",
        colour="#a6761d",
    ),
    System(
        name="paper",
        run="flipkd.comparison.scorers:student",
        kind="distilled",
        settings=PAPER,
        label="The paper’s recipe: flipped with wide adapters on labelled pairs only; its answer is trained on labels only.",
        colour="#332288",
    ),
    System(
        name="shuffled_teacher",
        run="flipkd.comparison.scorers:shuffled_teacher",
        kind="distilled",
        settings={"keep_teacher": False, **NO_OTHERS},  # its training targets are not the outputs of the kept model
        label="Control: the flipped student with shuffled teacher outputs. Its gain does not come from the teacher.",
        colour="#b3b300",
    ),
    System(
        name="flipped",
        run="flipkd.comparison.scorers:student",
        kind="distilled",
        label="The large language model trained on the labels and on the outputs of the small teacher.",
        colour="#009e73",
    ),
    System(
        name="distilled_back",
        run="flipkd.comparison.scorers:distilled_back",
        kind="distilled",
        label="A second training of the flipped student on the score of its own matcher. Twice the steps in all.",
        colour="#006d5b",
    ),
)
SYSTEMS: Mapping[str, System] = {system.name: system for system in _SYSTEMS}
BLENDS: Mapping[str, Mapping[str, Any]] = {
    "plain+teacher_finetuned": {
        "colour": "#f0a3c0",
        "in_a_sentence": "the weighted sum of the scores of plain LoRA and of the fine-tuned teacher",
    },
    "flipped+teacher_finetuned": {"colour": "#66c2a5"},
}


def system_named(name: str) -> System:
    """Return the record of a system, or of a blend (names joined by a plus). Raises KeyError for an unknown name."""
    if PLUS not in name:
        return SYSTEMS[name]
    return System(
        name=name,
        run="flipkd.comparison.blends:blend",
        kind="blend",
        label="The weighted sum of the scores of its parts, with weights fitted on validation. Not trained itself.",
        **BLENDS.get(name, {}),
    )
