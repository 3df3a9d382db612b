"""Watchers that stop a run which cannot be learning, with a named cause, instead of letting it burn hours."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from flipkd.errors import NumbersError
from flipkd.student.readout import down_parameters
from flipkd.training.module import DistillationModule

PATIENCE = 10  # steps: one batch may be odd, ten in a row are a fault


class Sentinels(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Raises NumbersError for a loss of exactly 0, constant scores, or trainable tensors without a gradient.

    Not-finite losses are caught in DistillationModule, before they can reach a weight.
    """

    def __init__(self, module: DistillationModule) -> None:
        self.module = module
        self.steps = self.zero_losses = self.constant_scores = 0
        # Without an objective of the answer nothing reaches what only the answer reads: all but A where it is read.
        student, answers = module.student, any("answers" in term.needs for term in module.objectives)
        read = list(down_parameters(student.language_model, student.readout.places).values())
        self.without_gradient = {
            name
            for name, p in module.named_parameters()
            if p.requires_grad and (answers or any(p is other for other in read))
        }

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """After backward, before the weights move."""
        self.steps += 1
        self._zero_loss()
        self._constant_scores()
        self._gradients()

    def _zero_loss(self) -> None:
        self.zero_losses = 0 if any(self.module.losses) else self.zero_losses + 1
        self.module.losses.clear()
        if self.zero_losses >= PATIENCE:
            raise NumbersError(
                f"the loss was exactly 0 for {PATIENCE} steps: no pair is labelled, the filter drops all pairs, or "
                "there is nothing left to learn; check the labels, filter_quantile and num_train_epochs"
            )

    def _constant_scores(self) -> None:
        scores = self.module.scores
        constant = len(scores) > 1 and max(scores) - min(scores) == 0.0
        self.constant_scores = self.constant_scores + 1 if constant else 0
        if self.constant_scores >= PATIENCE:
            raise NumbersError(
                f"all scores of a batch were equal for {PATIENCE} steps ({scores[0]:g}): the answer does not depend on "
                "the texts; check the template, the label words and learning_rate"
            )

    def _gradients(self) -> None:
        if not self.without_gradient or self.steps > PATIENCE:
            return
        moved = {
            name
            for name, parameter in self.module.named_parameters()
            if name in self.without_gradient and parameter.grad is not None and parameter.grad.any()
        }
        self.without_gradient -= moved
        if self.steps == PATIENCE and self.without_gradient:
            raise NumbersError(
                f"{len(self.without_gradient)} trainable tensors got no gradient in {PATIENCE} steps, for example "
                f"{sorted(self.without_gradient)[0]}; leave their modules out of lora_target_modules or lora_layers"
            )
