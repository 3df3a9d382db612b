"""What decides at the end: the student's answer, its cosine, its teacher's score, or a sum of them, by validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flipkd.config import TrainConfig
from flipkd.evaluate.combine import TEACHER, Choice, Parts, choose_score

Floats = NDArray[np.float32]


class KeepableTeacher(Protocol):
    """A loaded teacher that the matcher can keep."""

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        ...

    @property
    def source(self) -> Mapping[str, str | None]:
        """The `name` of what it was made from, and its `licence`, None where it is not known."""
        ...

    def seconds_per_pair(self, left: Sequence[str], right: Sequence[str]) -> float:
        """What its score of one pair costs, measured on some of these."""
        ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Write it into a matcher folder; returns the fields of `KeptTeacher`."""
        ...


def chosen(found: Mapping[str, Floats], labels: NDArray[np.int64], config: TrainConfig) -> Choice:
    """What decides, by average precision on validation (see `choose_score`) and by what `score` and `keep_teacher` allow.

    found: name -> scores [N]. A `score` that was named stays as it is, unless `keep_teacher` is true.
    """
    own = {name: scores for name, scores in found.items() if name != TEACHER and config.score in ("auto", name)}
    beside = config.keep_teacher is True or (config.keep_teacher == "auto" and config.score == "auto")
    if not beside or TEACHER not in found:
        return choose_score(own, labels)
    must_have = (TEACHER,) if config.keep_teacher is True else ()
    return choose_score(own | {TEACHER: found[TEACHER]}, labels, must_have=must_have)


def final_line(
    choice: Choice, teacher: KeepableTeacher | None, *, seconds: float, texts: tuple[Sequence[str], Sequence[str]]
) -> str:
    """One line for people: what was chosen, by how much, and at which cost. `seconds`: of the student, for one pair."""
    told = [f"score: {_named(choice, choice.parts)} on validation", *_others(choice)]
    if teacher is not None:
        more = teacher.seconds_per_pair(*texts)
        told.append(
            f"the teacher adds {teacher.parameters / 1e6:.1f} million parameters and {1000 * more:.2g} ms to the "
            f"{1000 * seconds:.2g} ms of a pair"
        )
    return "; ".join(told)


def _others(choice: Choice) -> list[str]:
    """The best of the rest, and whether the teacher alone would have done."""
    kept = TEACHER in choice.parts
    rest = [parts for parts in choice.precision if parts not in (choice.parts, (TEACHER,))]
    other = choice.best(with_teacher=not kept) or max(rest, key=lambda parts: choice.precision[parts], default=None)
    said = []
    if other is not None:
        ahead = 100 * (choice.precision[choice.parts] - choice.precision[other])
        which = "less" if ahead >= 0 else "more, perhaps by chance"
        said.append(f"next {_named(choice, other)} ({abs(ahead):.1f} points {which})")
    if (TEACHER,) in choice.precision:
        as_good = choice.precision[TEACHER,] >= choice.precision[choice.parts]
        verdict = ", so it does as well without the language model, at a small part of the cost" if as_good else ""
        said.append(f"the teacher alone {choice.precision[TEACHER,]:.3f}{verdict}")
    return said


def _named(choice: Choice, parts: Parts) -> str:
    return f"{' + '.join(parts)}, average precision {choice.precision[parts]:.3f}"
