"""Measurements of each training step, kept on the device and read on the host once per logging interval.

Reading a value of a GPU makes the host wait for all launched kernels; with one read per step the GPU is idle while Python
launches the next step. So a step only keeps small tensors here, and `read` copies those of many steps at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flipkd.objectives import MatchBatch

COLUMNS = ("loss", "score_spread", "largest_logit", "finite_rows")


@dataclass(frozen=True)
class StepReport:
    """One optimizer step in plain numbers: means over its batches, and the largest spread."""

    step: int
    pairs: int
    """The number of pairs in its largest batch."""
    loss: float
    any_loss: bool
    """True if the loss of one of its batches was not 0."""
    objectives: Mapping[str, float]
    score_spread: float
    """The largest score of a batch minus its smallest; the maximum over the batches."""
    largest_logit: float
    finite_rows: bool
    finite_gradients: bool
    bad_rows: Sequence[int] = ()
    """Training rows whose answers or embeddings are not finite, if known."""


@dataclass
class _Batch:
    values: Tensor  # COLUMNS, then the objectives
    finite: Tensor  # [N]
    rows: Tensor | None


@dataclass
class Recorder:
    """Collect the values of the batches of each step, as device tensors until `read`."""

    names: Sequence[str]
    unseen: list[StepReport] = field(default_factory=list)
    """Reports that were read and not yet checked."""
    gradient_norms: list[Tensor] = field(default_factory=list)
    """One tensor [objectives] per batch since the last line of the log."""
    _batches: list[_Batch] = field(default_factory=list)
    _steps: list[tuple[int, list[_Batch], Tensor]] = field(default_factory=list)
    _sums: dict[str, float] = field(default_factory=dict)
    _counted: int = 0

    def batch(self, values: Tensor, finite: Tensor, rows: Tensor | None) -> None:
        """Keep the results of `measure_batch` of one batch; `rows` [N] are the numbers of its training rows."""
        self._batches.append(_Batch(values, finite, rows))

    def close(self, step: int, gradient_norm: Tensor) -> Tensor:
        """End an optimizer step, which consists of the batches since the last call and has this gradient norm.

        Returns a bool tensor on the device: true if all losses and the norm are finite.
        """
        losses = [batch.values[0] for batch in self._batches]
        if self._batches:
            self._steps.append((step, self._batches, gradient_norm))
        self._batches = []
        return torch.stack([gradient_norm.float(), *losses]).isfinite().all()

    def read(self) -> None:
        """Copy the values of the ended steps to the host, as `unseen` reports."""
        if not self._steps:
            return
        kept, self._steps = self._steps, []
        values = torch.stack([batch.values for _, batches, _ in kept for batch in batches]).tolist()
        norms = torch.stack([norm.float() for _, _, norm in kept]).isfinite().tolist()
        first = 0
        for (step, batches, _), finite in zip(kept, norms, strict=True):
            own = values[first : first + len(batches)]
            first += len(batches)
            self.unseen.append(self._report(step, batches, own, finite=finite))

    def _report(
        self, step: int, batches: Sequence[_Batch], values: Sequence[Sequence[float]], *, finite: bool
    ) -> StepReport:
        columns = list(zip(*values, strict=True))
        named = dict(zip((*COLUMNS, *self.names), columns, strict=True))
        means = {name: sum(column) / len(column) for name, column in named.items()}
        for name in self.names:
            self._sums[name] = self._sums.get(name, 0.0) + means[name]
        self._counted += 1
        fine = min(named["finite_rows"]) > 0
        return StepReport(
            step=step,
            pairs=max(len(batch.finite) for batch in batches),
            loss=means["loss"],
            any_loss=any(named["loss"]),
            objectives={name: means[name] for name in self.names},
            score_spread=max(named["score_spread"]),
            largest_logit=max(named["largest_logit"]),
            finite_rows=fine,
            finite_gradients=finite,
            bad_rows=() if fine else _bad_rows(batches),
        )

    def drain(self) -> dict[str, float]:
        """Return the mean of each objective over the steps since the last call, and of the gradient norms if measured."""
        self.read()
        means = {name: total / max(self._counted, 1) for name, total in self._sums.items()}
        if self.gradient_norms:
            norms = torch.stack(self.gradient_norms).mean(dim=0).tolist()
            means |= {f"grad_norm_{name}": norm for name, norm in zip(self.names, norms, strict=True)}
        self._sums, self._counted, self.gradient_norms = {}, 0, []
        return means


def measure_batch(loss: Tensor, parts: Mapping[str, Tensor], match: MatchBatch) -> tuple[Tensor, Tensor]:
    """Return ([COLUMNS + objectives] values, mask [N] of pairs with finite answers and embeddings) of one batch."""
    count = match.shape[0]
    answers = None if match.answers is None else match.answers.detach()
    sides = [side.detach()[:count] for side in (answers, match.left, match.right) if side is not None]
    finite = torch.stack([side.isfinite().all(dim=1) for side in sides]).all(dim=0)
    spread = largest = loss.new_zeros(())
    if answers is not None:
        score = answers[:, 1] - answers[:, 0]
        spread, largest = score.max() - score.min(), answers.abs().max()
    values = [loss, spread, largest, finite.all().to(loss.dtype), *parts.values()]
    return torch.stack([value.detach().float() for value in values]), finite


def _bad_rows(batches: Sequence[_Batch]) -> list[int]:
    # With several processes each knows the numbers of its own rows only, but the mask is that of all pairs.
    known = [batch for batch in batches if batch.rows is not None and len(batch.rows) == len(batch.finite)]
    numbers = [batch.rows[~batch.finite].tolist() for batch in known if batch.rows is not None]
    return sorted({row for part in numbers for row in part})
