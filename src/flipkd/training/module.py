"""The nn.Module that transformers.Trainer runs: its forward reads a batch with the student and returns the loss."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from flipkd.errors import NumbersError
from flipkd.objectives import MatchBatch
from flipkd.student.model import Student
from flipkd.training.gather import drawing_alike, gathered
from flipkd.training.losses import WeightedObjective
from flipkd.training.queue import PREFIX, Queue


class DistillationModule(nn.Module):
    """Student plus loss; only what trains (the adapters) and the queue are in its state, so a checkpoint is small."""

    _keys_to_ignore_on_save = None  # transformers.Trainer asks for it

    def __init__(self, student: Student, objectives: Sequence[WeightedObjective], *, queue_size: int = 0) -> None:
        super().__init__()
        self.student, self.objectives = student, list(objectives)
        self.represent = any("vectors" in term.needs for term in objectives)
        self.behind_head = False  # whether batches are collated so
        self.draw = 0  # the seed of what objectives draw in this step where several ranks must draw alike
        self.queue = Queue(queue_size)
        self.scores: list[float] = []
        self.losses: list[float] = []  # of the batches of the step that is being accumulated
        self._sums: dict[str, Tensor] = {}
        self._steps = 0

    def forward(
        self,
        input_ids: Tensor,
        segment: Tensor,
        position_ids: Tensor,
        label: Tensor,
        text_input_ids: Tensor | None = None,
        text_segment: Tensor | None = None,
        text_position_ids: Tensor | None = None,
        teacher_left: Tensor | None = None,
        teacher_right: Tensor | None = None,
        teacher_pair: Tensor | None = None,
        left_id: Tensor | None = None,
        right_id: Tensor | None = None,
    ) -> dict[str, Tensor | None]:
        """One batch of N pairs -> loss [], logits [N, 2], similarity [N, N] or None. Raises NumbersError when not finite."""
        batch = {"input_ids": input_ids, "segment": segment, "position_ids": position_ids}
        if text_input_ids is not None and text_segment is not None and text_position_ids is not None:
            batch |= {
                "text_input_ids": text_input_ids,
                "text_segment": text_segment,
                "text_position_ids": text_position_ids,
            }
        head = self.student.read_head() if self.behind_head else None
        reading = self.student(batch, represent=self.represent, prefix=head, text_prefix=head)
        match = MatchBatch(
            answers=reading.answers,
            label=label,
            left=reading.left,
            right=reading.right,
            teacher_pair=teacher_pair,
            teacher_left=teacher_left,
            teacher_right=teacher_right,
            left_id=left_id,
            right_id=right_id,
        )
        match = self._with_grid(gathered(match) if self.training else match)
        similarity = match.similarity.detach() if self.represent else None
        with drawing_alike(self.draw, label.device):
            loss = self._loss(match)
        return {"loss": loss, "logits": reading.answers.detach(), "similarity": similarity}

    def _with_grid(self, match: MatchBatch) -> MatchBatch:
        """The batch with the teacher's grid, made of the vectors of all ranks and of what the queue holds."""
        left = match.teacher_left
        if left is None or match.teacher_right is None:
            return match
        if self.training and self.queue.size and match.right is not None and match.right_id is not None:
            columns = {name: match.require(name) for name in ("right", "teacher_right", "right_id")}
            match = replace(match, **self.queue.extended(columns))
        with torch.autocast(left.device.type, enabled=False):  # it would round the teacher's cosines
            return replace(match, teacher_grid=left @ match.require("teacher_right").T)

    def _loss(self, match: MatchBatch) -> Tensor:
        parts = {term.name: term.function(match) for term in self.objectives}
        loss = torch.stack([term.weight * parts[term.name] for term in self.objectives]).sum()
        if not torch.isfinite(loss):
            shown = ", ".join(f"{name} {float(value.detach()):g}" for name, value in parts.items())
            raise NumbersError(
                f"the loss is not finite ({shown}); the last checkpoint is untouched: lower learning_rate"
            )
        if self.training:
            for name, value in parts.items():
                self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()
            self._steps += 1
            self.scores = match.score.detach().tolist()
            self.losses.append(float(loss.detach()))
        return loss

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: dict[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """What the Trainer calls when `activation_checkpointing` is among the training arguments."""
        self.student.language_model.activation_checkpointing_enable(
            activation_checkpointing_kwargs, every_n_layers=every_n_layers, offload=offload
        )

    def drain(self) -> dict[str, float]:
        """Mean of each objective since the last call, for the log."""
        means = {name: float(value) / max(self._steps, 1) for name, value in self._sums.items()}
        self._sums, self._steps = {}, 0
        return means

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """The trainable tensors and the queue: the base model is where it came from, and its hash is in the contract."""
        trainable = ((n, p.detach()) for n, p in self.named_parameters() if p.requires_grad)
        return OrderedDict(trainable) | self.queue.state()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Put saved trainable tensors back; all of them must be there, whatever `strict` says."""
        device = self.student.device  # transformers reads a checkpoint on the CPU
        self.queue.restore({name: t.to(device) for name, t in state_dict.items() if name.startswith(PREFIX)})
        own = self.state_dict()
        if set(own) != set(state_dict):
            odd = sorted(set(own) ^ set(state_dict))[0]
            raise ValueError(f"the checkpoint's tensors are not those that train here, for example {odd}")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state_dict[name])
        return torch.nn.modules.module._IncompatibleKeys([], [])
