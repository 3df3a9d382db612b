"""DistillationModule, the nn.Module that transformers.Trainer trains: its forward computes the loss of a batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from flipkd.data.pair_table import PairTable
from flipkd.objectives import MatchBatch
from flipkd.student.model import Student
from flipkd.training import averaging, queue
from flipkd.training.averaging import WeightAverage
from flipkd.training.gather import gather_batches, shared_random_state
from flipkd.training.gradients import gradient_norms
from flipkd.training.graphs import GraphedStep
from flipkd.training.losses import WeightedObjective, build_objectives, run_facts
from flipkd.training.pair_weights import weigh_gradients
from flipkd.training.queue import Queue
from flipkd.training.record import Recorder, measure_batch


class DistillationModule(nn.Module):
    """The student and its loss; the state is the trained parameters, average, queue, buffers of objectives: small checkpoints.

    `own_modules` are the objectives that have parameters; a matcher does not get them. These need `table`, the training
    pairs, and are initialised from `seed` alone.
    """

    _keys_to_ignore_on_save = None  # transformers.Trainer reads it
    accepts_loss_kwargs = False  # without it the Trainer adds num_items_in_batch to the batch

    def __init__(
        self,
        student: Student,
        objectives: Sequence[WeightedObjective],
        *,
        queue_size: int = 0,
        average_weights: float = 0.0,
        table: PairTable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.student, self.objectives = student, list(objectives)
        self.needs = frozenset[str]().union(*(term.needs for term in objectives))
        self.return_embeddings, self.reads_both_orders = "vectors" in self.needs, "orders" in self.needs
        self.functions = build_objectives(objectives, lambda: run_facts(student, table), seed=seed)
        own = [function for function in self.functions if isinstance(function, nn.Module)]
        self.own_modules = nn.ModuleList(own).to(student.device)
        self.drop_head = False  # whether batches are collated without the template's head
        self.shared_seed = 0  # of this step, for objectives that draw: equal on all ranks
        self.measure_gradients = False  # of each objective, in the next batch
        self.queue, self.average = Queue(queue_size), WeightAverage(average_weights)
        self.recorder = Recorder([term.name for term in objectives])
        self.graphed: GraphedStep | None = None
        self._cached_parameters: list[nn.Parameter] | None = None

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
        """Set the mode as nn.Module does, but skip the recursion where nothing changes."""
        if mode != self.training or mode != self.student.training:
            super().train(mode)
        return self

    def cache_parameters(self) -> None:
        """Cache the parameters from now on. Not for a model that is sharded later: its parameters change.

        The Trainer collects all parameters several times per step. For the thousand modules of a small model this takes
        longer than its step on a GPU.
        """
        self._cached_parameters = list(self.parameters())

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Return the parameters as nn.Module does, or the cached ones."""
        return super().parameters(recurse) if self._cached_parameters is None else iter(self._cached_parameters)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove the gradients as nn.Module does, or those of the cached parameters."""
        if self._cached_parameters is None or not set_to_none:
            super().zero_grad(set_to_none)
            return
        for parameter in self._cached_parameters:
            parameter.grad = None

    def step(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return (loss, values for the recorder, mask [N] of finite pairs) of a batch; a CUDA graph records this method."""
        return self._loss(self._match(batch))

    def _match(self, batch: Mapping[str, Tensor]) -> MatchBatch:
        """Return the MatchBatch of the objectives: student's answers and embeddings, labels and teacher's values."""
        head = self.student.encode_prefix(self.student.prompt.head) if self.drop_head else None
        output = self.student(
            batch,
            return_embeddings=self.return_embeddings,
            return_layers="layers" in self.needs,
            prefix=head,
            text_prefix=head,
        )
        if "weight" in batch:
            weigh_gradients(batch["weight"], (output.answers, output.left, output.right, output.layers))
        match = MatchBatch(
            answers=output.answers,
            label=batch["label"],
            left=output.left,
            right=output.right,
            teacher_pair=batch.get("teacher_pair"),
            teacher_left=batch.get("teacher_left"),
            teacher_right=batch.get("teacher_right"),
            left_id=batch.get("left_id"),
            right_id=batch.get("right_id"),
            pair_id=batch.get("pair_id"),
            list_id=batch.get("list_id"),
            layer_states=output.layers,
        )
        return self._with_grid(gather_batches(match) if self.training else match)

    def _with_grid(self, match: MatchBatch) -> MatchBatch:
        """Return the batch extended by the queue, with the teacher's grid of the embeddings of all ranks."""
        left = match.teacher_left
        if left is None or match.teacher_right is None:
            return match
        if self.training and self.queue.size and match.right is not None and match.right_id is not None:
            columns = {name: match.require(name) for name in ("right", "teacher_right", "right_id")}
            match = replace(match, **self.queue.extend(columns))
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
        with shared_random_state(self.shared_seed, match.require("label").device):
            parts = {term.name: loss(match) for term, loss in zip(self.objectives, self.functions, strict=True)}
        weighted = [term.weight * parts[term.name] for term in self.objectives]
        if self.measure_gradients and self.training:
            self.measure_gradients = False
            trained = [p for p in self.parameters() if p.requires_grad]
            self.recorder.gradient_norms.append(gradient_norms(weighted, trained))
        loss = torch.stack(weighted).sum()
        return loss, *measure_batch(loss, parts, match)

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: dict[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Enable activation checkpointing; the Trainer calls it for the argument `activation_checkpointing`."""
        self.student.language_model.activation_checkpointing_enable(
            activation_checkpointing_kwargs, every_n_layers=every_n_layers, offload=offload
        )

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Return the trainable tensors, their average, the buffers of objectives and the queue.

        The base model is left out: the contract has its hash.
        """
        trainable = ((n, p.detach()) for n, p in self.named_parameters() if p.requires_grad)
        buffers = dict(self.own_modules.named_buffers(prefix="own_modules"))
        return OrderedDict(trainable) | buffers | self.queue.state() | self.average.state()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load what `state_dict` returned. Raises ValueError unless the names match, also with strict=False."""
        device = self.student.device  # transformers reads a checkpoint on the CPU
        for part, prefix in ((self.queue, queue.PREFIX), (self.average, averaging.PREFIX)):
            part.restore({name: t.to(device) for name, t in state_dict.items() if name.startswith(prefix)})
        own = self.state_dict()
        if set(own) != set(state_dict):
            differing = sorted(set(own) ^ set(state_dict))[0]
            raise ValueError(f"the tensors of the checkpoint are not those of this run, for example {differing}")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state_dict[name])
        return torch.nn.modules.module._IncompatibleKeys([], [])
