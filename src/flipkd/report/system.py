"""Record of a system: one way to score pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

REFERENCES = ("plain", "no_teacher", "teacher_finetuned", "plain+teacher_finetuned")
Kind = Literal["baseline", "teacher", "untrained", "labels", "distilled", "blend"]


@dataclass(frozen=True, kw_only=True)
class System:
    """One way to score pairs: its function, its display and its references.

    run: import path `module:name` of a function that takes a `Run` of a comparison and returns its scores; kind: type of
    model and training (`teacher`: a small model; `untrained`, `labels`, `distilled`: the student); settings: training
    settings that differ from the defaults; trained: false for a system not trained on these pairs; has_vectors: false for a
    student without embeddings; in_a_sentence: its name in a sentence; compared_with: names of the reference systems.
    """

    name: str
    label: str
    run: str = ""
    kind: Kind = "baseline"
    settings: Mapping[str, Any] = field(default_factory=dict)
    colour: str = "#444444"
    trained: bool = True
    has_vectors: bool = True
    in_a_sentence: str = ""
    compared_with: tuple[str, ...] = REFERENCES

    @property
    def is_student(self) -> bool:
        """Return whether the system is the LLM, trained or not."""
        return self.kind in ("untrained", "labels", "distilled")

    @property
    def has_teacher(self) -> bool:
        """Return whether the system is a teacher or learns from one."""
        return self.kind in ("teacher", "distilled")
