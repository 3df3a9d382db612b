"""The choice of the final score on validation: the student's answer, its cosine, the teacher's score, or a sum of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flipkd.config import TrainConfig
from flipkd.evaluate.cascade import CascadeFit
from flipkd.evaluate.combine import TEACHER, UNMEASURED, Choice, Parts, choose_score
from flipkd.figures import figure

Floats = NDArray[np.float32]


class KeepableTeacher(Protocol):
    """A loaded teacher that the matcher can keep."""

    @property
    def parameters(self) -> int:
        """The number of its parameters."""
        ...

    @property
    def source(self) -> Mapping[str, str | None]:
        """The `name` of its base model and its `licence`; None where it is unknown."""
        ...

    def seconds_per_pair(self, left: Sequence[str], right: Sequence[str]) -> float:
        """Return the seconds for one pair, measured on some of these pairs."""
        ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the teacher into a matcher folder; return the fields of `KeptTeacher`."""
        ...


def choose_readouts(found: Mapping[str, Floats], labels: NDArray[np.int64], config: TrainConfig) -> Choice:
    """Choose the score by average precision on validation (see `choose_score`), as `score` and `keep_teacher` allow.

    found: name -> scores [N]. A `score` other than auto is kept, unless `keep_teacher` is true.
    """
    own = {name: scores for name, scores in found.items() if name != TEACHER and config.score in ("auto", name)}
    with_teacher = config.keep_teacher is True or (config.keep_teacher == "auto" and config.score == "auto")
    if not with_teacher or TEACHER not in found:
        return choose_score(own, labels)
    must_have = (TEACHER,) if config.keep_teacher is True else ()
    return choose_score(own | {TEACHER: found[TEACHER]}, labels, must_have=must_have)


def summary(
    choice: Choice,
    teacher: KeepableTeacher | None,
    cascade: CascadeFit | None = None,
    *,
    seconds: float,
    texts: tuple[Sequence[str], Sequence[str]],
) -> str:
    """Return lines on the chosen score, its alternatives, its costs and the cascade; `seconds`: of the student per pair."""
    held_out = " (average precision of a sum: on held-out folds)" if len(choice.parts) > 1 else ""
    lines = [f"score: {_describe(choice, choice.parts)} on validation{held_out}", *_alternatives(choice)]
    if teacher is None:
        lines.append(f"cost: {_milliseconds(seconds)} for a pair")
    else:
        more = teacher.seconds_per_pair(*texts)
        lines.append(
            f"cost: {_milliseconds(seconds)} for a pair; the teacher adds {_milliseconds(more)} and "
            f"{teacher.parameters / 1e6:.1f} million parameters"
        )
        lines += [] if cascade is None else [_describe_cascade(cascade, student=seconds, teacher=more)]
    return "\n  ".join(lines)


def _milliseconds(seconds: float) -> str:
    """Format seconds as milliseconds, below 10 with two digits: 4.2 ms, 33 ms, 167 ms."""
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.01 else f"{1000 * seconds:.2g} ms"


def _alternatives(choice: Choice) -> list[str]:
    """Return lines on the best alternative (with the teacher if the choice has none, else without), and on the teacher alone."""
    kept = TEACHER in choice.parts
    measured = {
        parts: value for parts, value in choice.precision.items() if value > UNMEASURED and parts != (TEACHER,)
    }
    rest = sorted(measured.keys() - {choice.parts}, key=lambda parts: -measured[parts])
    other_side = [parts for parts in rest if (TEACHER in parts) is not kept]
    lines = []
    if rest and choice.parts in measured:
        other = (other_side or rest)[0]
        what = f"best {'without' if kept else 'with'} the teacher" if other_side else "next best"
        ahead = 100 * (measured[choice.parts] - measured[other])
        which = "lower" if ahead >= 0 else "higher, perhaps by chance"
        lines.append(f"{what}: {_describe(choice, other)} ({abs(ahead):.1f} points {which})")
    if (TEACHER,) in choice.precision:
        as_good = choice.precision[TEACHER,] >= choice.precision[choice.parts]
        verdict = " (as good without the language model, and much cheaper)" if as_good else ""
        lines.append(f"the teacher alone: {choice.precision[TEACHER,]:.3f}{verdict}")
    return lines


def _describe_cascade(fit: CascadeFit, *, student: float, teacher: float) -> str:
    """Return a line on what a cascade gains and loses; student, teacher: their seconds for one pair."""
    if fit.cascade is None:
        return "no cascade: the teacher decides no pair well enough alone"
    faster = (teacher + student) / (teacher + (1 - fit.share) * student)
    speed = (
        f"about {figure(faster, 2)} times as fast"
        if faster >= 1.05
        else "not faster: the teacher takes most of the time"
    )
    return (
        f"cascade (--cascade): the teacher decides {fit.share:.0%} of the pairs alone, F1 {fit.f1:.3f} instead of "
        f"{fit.f1_all_read:.3f}, {speed}"
    )


def _describe(choice: Choice, parts: Parts) -> str:
    found = choice.precision[parts]
    measured = f"average precision {found:.3f}"
    how = measured if found > UNMEASURED else "not measured, with fewer than 3 pairs of a class,"
    return f"{' + '.join(parts)}, {how}"
