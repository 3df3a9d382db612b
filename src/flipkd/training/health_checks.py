"""Health checks that stop a run which cannot learn, with a cause."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from flipkd.errors import NumbersError
from flipkd.student.readout import down_parameters
from flipkd.training.module import DistillationModule
from flipkd.training.record import StepReport

PATIENCE = 10  # steps: one batch may be unusual, ten in a row are a fault
LONGEST_INTERVAL = 100  # steps between two checks, if logs and checkpoints are rarer
DIVERGED = 10.0  # times the first loss: the run had diverged before its loss was not finite


class HealthChecks(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Raise NumbersError for values that are not finite, a loss of exactly 0, constant scores, or missing gradients.

    The checks run just before the Trainer logs or saves, so that a step never waits for the GPU. A step whose
    loss or gradients are not finite changes no weight: the fused optimizer skips it on the device.
    """

    def __init__(self, module: DistillationModule) -> None:
        self.module = module
        self.zero_losses = self.constant_scores = 0
        self.first_loss: float | None = None
        # Without an objective of the answer only A of the readout layers gets a gradient.
        student, answers = module.student, any("answers" in term.needs for term in module.objectives)
        vectors = "vectors" in module.needs
        read = list(down_parameters(student.language_model, student.readout.module_names).values()) if vectors else []
        self.trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.without_gradient = {
            name
            for name, p in self.trainable.items()
            if name.startswith("student.") and (answers or any(p is other for other in read))
        }
        self._norms: list[tuple[list[str], Tensor]] = []  # (names, norms [P]) of the first steps
        self._steps = 0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """End the step in the recorder, after backward and before the optimizer."""
        named = [(name, p.grad) for name, p in self.trainable.items() if p.grad is not None]
        norms = _norms([gradient for _, gradient in named])
        finite = self.module.recorder.close(state.global_step + 1, torch.linalg.vector_norm(norms))
        self._steps += 1
        if self._steps <= PATIENCE:
            self._norms.append(([name for name, _ in named], norms))
        if not _skip_step_unless(finite, given.get("optimizer")) and not bool(finite):
            self._check()

    def on_step_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Check before a log or a checkpoint, and at the end."""
        last = state.global_step >= state.max_steps
        if control.should_log or control.should_save or last or self._steps % LONGEST_INTERVAL == 0:
            self._check()

    def _check(self) -> None:
        recorder = self.module.recorder
        recorder.read()
        reports, recorder.unseen = recorder.unseen, []
        for report in reports:
            self._check_finite(report)
            if report.pairs > 1:  # one pair is often unlabelled, and its score equals all scores of its batch
                self._check_loss(report)
                self._check_scores(report)
        self._check_gradients()

    def _check_finite(self, report: StepReport) -> None:
        finite = report.loss - report.loss == 0
        if finite and report.finite_gradients:
            self.first_loss = report.loss if self.first_loss is None else self.first_loss
            return
        shown = ", ".join(f"{name} {value:g}" for name, value in report.objectives.items())
        what = "the gradients are" if finite else "the loss is"
        raise NumbersError(
            f"step {report.step}: {what} not finite ({shown}){_bad_rows_text(report)}; that step changed no weight and the "
            f"last checkpoint is untouched: {self._advice(report, finite=finite)}"
        )

    def _advice(self, report: StepReport, *, finite: bool) -> str:
        if self.first_loss and finite and report.loss > DIVERGED * self.first_loss:
            return f"the loss had grown from {self.first_loss:g} to {report.loss:g}; lower learning_rate"
        if not report.finite_rows:
            return "the forward pass of the model caused it; set attn_implementation to eager, or dtype to float32"
        if not finite:
            broken = [name for name, value in report.objectives.items() if value - value != 0]
            return f"answers and embeddings are finite, so {', '.join(broken)} caused it; set its weight to 0 and report it"
        return "the backward pass caused it; set attn_implementation to eager, or dtype to float32"

    def _check_loss(self, report: StepReport) -> None:
        self.zero_losses = 0 if report.any_loss else self.zero_losses + 1
        if self.zero_losses >= PATIENCE:
            raise NumbersError(
                f"the loss was exactly 0 for {PATIENCE} steps: no pair is labelled, the filter drops all pairs, or "
                "the student has learnt all; check the labels, filter_quantile and num_train_epochs"
            )

    def _check_scores(self, report: StepReport) -> None:
        constant = (
            report.largest_logit > 0 and report.score_spread <= self._rounding_tolerance() * report.largest_logit
        )
        self.constant_scores = self.constant_scores + 1 if constant else 0
        if self.constant_scores >= PATIENCE:
            raise NumbersError(
                f"all scores of a batch were equal for {PATIENCE} steps: the answer does not depend on the texts; "
                "check the template, the label words and learning_rate"
            )

    def _rounding_tolerance(self) -> float:
        """Return how much, relative to the logits, equal rows may differ: kernels sum rows in different orders."""
        # The rows of the label words are multiplied in float32; in low precision the errors of many dimensions average out.
        return max(8 * torch.finfo(torch.float32).eps, torch.finfo(self.module.student.language_model.dtype).eps / 4)

    def _check_gradients(self) -> None:
        if self._steps < PATIENCE or not self._norms:
            return
        for names, norms in self._norms:
            self.without_gradient -= {name for name, norm in zip(names, norms.tolist(), strict=True) if norm != 0}
        self._norms = []
        if self.without_gradient:
            raise NumbersError(
                f"{len(self.without_gradient)} trainable tensors got no gradient in {PATIENCE} steps, for example "
                f"{sorted(self.without_gradient)[0]}; leave their modules out of lora_target_modules or lora_layers, or "
                "use an objective of the answer that is not 0"
            )


def _norms(gradients: list[Tensor]) -> Tensor:
    """Return [P] the norm of each of P gradients; of a sharded gradient that of the full tensor."""
    norms = torch._foreach_norm(gradients)
    return torch.stack([norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms])


def _skip_step_unless(finite: Tensor, optimizer: Any) -> bool:
    """Make a fused optimizer skip the step on the device unless `finite`; return false if the optimizer is not fused."""
    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps the optimizer
    fused = inner is not None and all(group.get("fused") for group in inner.param_groups)
    if fused:
        inner.found_inf = (~finite).float()
    return fused


def _bad_rows_text(report: StepReport) -> str:
    shown = ", ".join(map(str, report.bad_rows[:5]))
    return f", in training rows {shown}{', ...' if len(report.bad_rows) > 5 else ''}" if shown else ""
