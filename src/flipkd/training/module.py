"""The nn.Module that transformers.Trainer runs: its forward reads a batch with the student and returns the loss."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flipkd.objectives import MatchBatch
from flipkd.student.model import Student
from flipkd.training.cached_parameters import CachedParametersModule
from flipkd.training.gather import gathered, shared_random_state
from flipkd.training.gradients import gradient_norms
from flipkd.training.graphs import GraphedStep
from flipkd.training.losses import WeightedObjective
from flipkd.training.queue import PREFIX, Queue
from flipkd.training.record import Recorder, measured


class DistillationModule(CachedParametersModule):
    """Student plus loss; only what trains (the adapters) and the queue are in its state, so a checkpoint is small."""

    _keys_to_ignore_on_save = None  # transformers.Trainer asks for it
    accepts_loss_kwargs = False  # nor should it think that the batch's names are for its own arguments

    def __init__(self, student: Student, objectives: Sequence[WeightedObjective], *, queue_size: int = 0) -> None:
        super().__init__()
        self.student, self.objectives = student, list(objectives)
        self.return_embeddings = any("vectors" in term.needs for term in objectives)
        self.after_head = False  # whether batches are collated so
        self.draw = 0  # the seed of what objectives draw in this step where several ranks must draw alike
        self.measure_gradients = False  # each objective's, in the next batch
        self.queue = Queue(queue_size)
        self.recorder = Recorder([term.name for term in objectives])
        self.graphed: GraphedStep | None = None

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """Return the loss [] of a batch of N pairs, as Collator makes it.

        Where no CUDA graph is replayed also logits [N, 2], and with embeddings similarity [N, M].
        """
        rows = batch.pop("row", None)
        if self.training and self.graphed is not None:
            (loss, values, finite), outputs = self.graphed(batch), {}
        else:
            match = self._match(batch)
            (loss, values, finite), outputs = self._loss(match), self._scores(match)
        if self.training:
            self.recorder.batch(values, finite, rows)
        return {"loss": loss} | outputs

    def train(self, mode: bool = True) -> DistillationModule:
        """As any module, but without a walk through it where nothing changes."""
        if mode != self.training or mode != self.student.training:
            super().train(mode)
        return self

    def step(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(loss, what the recorder keeps of it, which pairs are finite) of a batch: what a CUDA graph records."""
        return self._loss(self._match(batch))

    def _match(self, batch: Mapping[str, Tensor]) -> MatchBatch:
        """What the objectives look at: the student's answers and vectors beside the labels and the teacher's values."""
        head = self.student.read_head() if self.after_head else None
        reading = self.student(batch, return_embeddings=self.return_embeddings, prefix=head, text_prefix=head)
        match = MatchBatch(
            answers=reading.answers,
            label=batch["label"],
            left=reading.left,
            right=reading.right,
            teacher_pair=batch.get("teacher_pair"),
            teacher_left=batch.get("teacher_left"),
            teacher_right=batch.get("teacher_right"),
            left_id=batch.get("left_id"),
            right_id=batch.get("right_id"),
        )
        return self._with_grid(gathered(match) if self.training else match)

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

    def _scores(self, match: MatchBatch) -> dict[str, Tensor]:
        scores = {}
        if match.answers is not None:
            scores["logits"] = match.answers.detach()
        if self.return_embeddings:
            scores["similarity"] = match.similarity.detach()
        return scores

    def _loss(self, match: MatchBatch) -> tuple[Tensor, Tensor, Tensor]:
        with shared_random_state(self.draw, match.require("label").device):
            parts = {term.name: term.function(match) for term in self.objectives}
        weighted = [term.weight * parts[term.name] for term in self.objectives]
        if self.measure_gradients and self.training:
            self.measure_gradients = False
            trained = [p for p in self.parameters() if p.requires_grad]
            self.recorder.gradient_norms.append(gradient_norms(weighted, trained))
        loss = torch.stack(weighted).sum()
        return loss, *measured(loss, parts, match)

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
