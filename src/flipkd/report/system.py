"""The record of a system: one way to score pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

REFERENCES = ("plain", "no_teacher", "teacher_finetuned", "plain+teacher_finetuned")
Kind = Literal["baseline", "teacher", "untrained", "labels", "distilled", "blend"]


@dataclass(frozen=True, kw_only=True)
class System:
    """One way to score pairs: how it is run, how it is shown, what it is compared with.

    run: import path `module:name` of a function that takes a `Run` of a comparison and returns its scores; kind: what it is
    and learns from (`teacher`: a small model; `untrained`, `labels`, `distilled`: the student); settings: those of training
    that differ from the defaults; trained: false where it learned nothing from these pairs; has_vectors: false for a student
    that only answers; in_a_sentence: its name in a sentence; compared_with: names of systems.
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
        """Whether it is the large language model, trained or not."""
        return self.kind in ("untrained", "labels", "distilled")

    @property
    def has_teacher(self) -> bool:
        """Whether it is a small model or learns from one."""
        return self.kind in ("teacher", "distilled")
