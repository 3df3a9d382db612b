"""Watchers that stop a run which cannot be learning, with a named cause, instead of letting it burn hours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from flipkd.errors import NumbersError
from flipkd.student.readout import down_parameters
from flipkd.training.module import DistillationModule
from flipkd.training.record import StepReport

PATIENCE = 10  # steps: one batch may be odd, ten in a row are a fault
LONGEST_INTERVAL = 100  # steps between two looks, however seldom is logged
GROWN = 10.0  # times the first loss: then the run was coming apart before it broke


class HealthChecks(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Raises NumbersError for values that are not finite, a loss of exactly 0, constant scores, or missing gradients.

    They look when the Trainer logs or saves, before it does, so that a step never waits for the GPU. A step whose
    loss or gradients are not finite changes no weight: the fused optimizer skips it on the device.
    """

    def __init__(self, module: DistillationModule) -> None:
        self.module = module
        self.zero_losses = self.constant_scores = 0
        self.first_loss: float | None = None
        # Without an objective of the answer nothing reaches what only the answer reads: all but A where it is read.
        student, answers = module.student, any("answers" in term.needs for term in module.objectives)
        read = list(down_parameters(student.language_model, student.readout.module_names).values())
        self.trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.without_gradient = {
            name for name, p in self.trainable.items() if answers or any(p is other for other in read)
        }
        self._norms: list[tuple[list[str], Tensor]] = []  # of the first steps
        self._steps = 0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """After backward, before the weights move."""
        named = [(name, p.grad) for name, p in self.trainable.items() if p.grad is not None]
        norms = _norms([gradient for _, gradient in named])
        finite = self.module.recorder.close(state.global_step + 1, torch.linalg.vector_norm(norms))
        self._steps += 1
        if self._steps <= PATIENCE:
            self._norms.append(([name for name, _ in named], norms))
        if not _skip_unless(finite, given.get("optimizer")) and not bool(finite):
            self._look()

    def on_step_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Look when something is about to be logged or saved, and at the end."""
        last = state.global_step >= state.max_steps
        if control.should_log or control.should_save or last or self._steps % LONGEST_INTERVAL == 0:
            self._look()

    def _look(self) -> None:
        recorder = self.module.recorder
        recorder.read()
        reports, recorder.unseen = recorder.unseen, []
        for report in reports:
            self._finite(report)
            self._zero_loss(report)
            self._constant_scores(report)
        self._gradients()

    def _finite(self, report: StepReport) -> None:
        finite = report.loss - report.loss == 0
        if finite and report.finite_gradients:
            self.first_loss = report.loss if self.first_loss is None else self.first_loss
            return
        shown = ", ".join(f"{name} {value:g}" for name, value in report.objectives.items())
        what = "the gradients are" if finite else "the loss is"
        raise NumbersError(
            f"step {report.step}: {what} not finite ({shown}){_rows(report)}; that step changed no weight and the "
            f"last checkpoint is untouched: {self._advice(report, finite=finite)}"
        )

    def _advice(self, report: StepReport, *, finite: bool) -> str:
        if self.first_loss and finite and report.loss > GROWN * self.first_loss:
            return f"the loss had grown from {self.first_loss:g} to {report.loss:g}; lower learning_rate"
        if not report.finite_rows:
            return "the model's own pass gave it; set attn_implementation to eager, or dtype to float32"
        if not finite:
            broken = [name for name, value in report.objectives.items() if value - value != 0]
            return f"answers and vectors are finite, so {', '.join(broken)} made it; set its weight to 0 and report it"
        return "the backward pass gave it; set attn_implementation to eager, or dtype to float32"

    def _zero_loss(self, report: StepReport) -> None:
        self.zero_losses = 0 if report.any_loss else self.zero_losses + 1
        if self.zero_losses >= PATIENCE:
            raise NumbersError(
                f"the loss was exactly 0 for {PATIENCE} steps: no pair is labelled, the filter drops all pairs, or "
                "there is nothing left to learn; check the labels, filter_quantile and num_train_epochs"
            )

    def _constant_scores(self, report: StepReport) -> None:
        constant = report.largest_logit > 0 and report.score_spread <= self._rounding() * report.largest_logit
        self.constant_scores = self.constant_scores + 1 if constant else 0
        if self.constant_scores >= PATIENCE:
            raise NumbersError(
                f"all scores of a batch were equal for {PATIENCE} steps: the answer does not depend on the texts; "
                "check the template, the label words and learning_rate"
            )

    def _rounding(self) -> float:
        """By how much, as a share of the logits, equal rows may differ: kernels add in another order from row to row."""
        # The label words' rows are multiplied in float32; in low precision errors of many dimensions average out.
        return max(8 * torch.finfo(torch.float32).eps, torch.finfo(self.module.student.language_model.dtype).eps / 4)

    def _gradients(self) -> None:
        if self._steps < PATIENCE or not self._norms:
            return
        for names, norms in self._norms:
            self.without_gradient -= {name for name, norm in zip(names, norms.tolist(), strict=True) if norm != 0}
        self._norms = []
        if self.without_gradient:
            raise NumbersError(
                f"{len(self.without_gradient)} trainable tensors got no gradient in {PATIENCE} steps, for example "
                f"{sorted(self.without_gradient)[0]}; leave their modules out of lora_target_modules or lora_layers"
            )


def _norms(gradients: list[Tensor]) -> Tensor:
    """[P] the norm of each gradient; sharded ones count as a whole."""
    norms = torch._foreach_norm(gradients)
    return torch.stack([norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms])


def _skip_unless(finite: Tensor, optimizer: Any) -> bool:
    """Have a fused optimizer skip a step that is not finite, without the host knowing; whether it can."""
    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
    fused = inner is not None and all(group.get("fused") for group in inner.param_groups)
    if fused:
        inner.found_inf = (~finite).float()
    return fused


def _rows(report: StepReport) -> str:
    shown = ", ".join(map(str, report.bad_rows[:5]))
    return f", in training rows {shown}{', ...' if len(report.bad_rows) > 5 else ''}" if shown else ""
