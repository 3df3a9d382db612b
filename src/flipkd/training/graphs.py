"""CUDA graphs of the forward and backward pass of a step: one launch instead of thousands.

A step of a small model is a few thousand kernels of some microseconds, and the launch of a kernel takes the host as long as
the kernel or longer. A graph is recorded once per shape of the batch and replayed for every batch of that shape, so shapes
must be few: `rows.pack` rounds them up. A recorded step must not read a device value, nor have shapes that depend on one.

A graph keeps its memory, and of what an earlier graph has released a larger one can use little: at 256 pairs a step four
graphs of a model that needs 9 GB took 34 GB. So only a share of the GPU's memory is for graphs.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)
# Batches of a shape that run without a graph: they warm up kernels, and a rare shape is not worth a graph.
FIRST_EAGER = 1
MAX_GRAPHS = 48  # each holds memory for the gradients of all adapters
MEMORY_SHARE = 0.25  # of the GPU's memory, above which no further graph is recorded
Step = Callable[[dict[str, Tensor]], tuple[Tensor, ...]]


class GraphRecording:
    """One CUDA graph of `step` and of the gradients of its first output with respect to `parameters`.

    Each `replay` overwrites the values of the tensors in `outputs` and `gradients`.
    """

    def __init__(self, step: Step, batch: Mapping[str, Tensor], parameters: Sequence[nn.Parameter], pool: Any) -> None:
        self.inputs = {name: tensor.clone() for name, tensor in batch.items()}
        side_stream = _side_stream()
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):  # autograd's nodes of the parameters must not be on the default stream
            self._run(step, parameters)
        torch.cuda.current_stream().wait_stream(side_stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            self.outputs, self.gradients = self._run(step, parameters)

    def _run(
        self, step: Step, parameters: Sequence[nn.Parameter]
    ) -> tuple[tuple[Tensor, ...], Sequence[Tensor | None]]:
        outputs = step(dict(self.inputs))
        gradients = torch.autograd.grad(outputs[0], list(parameters), allow_unused=True)
        return tuple(output.detach() for output in outputs), gradients

    def replay(self, batch: Mapping[str, Tensor]) -> None:
        """Copy the batch to the inputs of the graph, and run the graph."""
        for name, own in self.inputs.items():
            own.copy_(batch[name], non_blocking=True)
        self.graph.replay()


class GraphedStep:
    """Call `step(batch)`, from the second batch of each shape through a CUDA graph; gradients reach `parameters`.

    step: tensors by name -> tensors, of which the first is the loss. `release` frees the tensors that an earlier step
    kept. If a step cannot be recorded or memory runs out beside the graphs, they are dropped and all steps run without
    graphs from then on, with one warning. `reserved` returns the bytes that torch holds, `limit` bounds those of the graphs.
    """

    recorded: ClassVar[int] = 0
    """The number of graphs recorded in this process, for benchmarks."""

    def __init__(
        self,
        step: Step,
        parameters: Sequence[nn.Parameter],
        *,
        release: Callable[[], None] = lambda: None,
        record: Callable[..., GraphRecording] = GraphRecording,
        reserved: Callable[[], int] | None = None,
        limit: float | None = None,
    ) -> None:
        self.step, self.parameters, self._release, self._record = step, list(parameters), release, record
        self._reserved = reserved or (torch.cuda.memory_reserved if torch.cuda.is_available() else lambda: 0)
        self._limit, self._held = _memory_for_graphs() if limit is None else limit, 0
        self._seen: Counter[Any] = Counter()
        self._graphs: dict[Any, GraphRecording] = {}
        self._pool: Any = None
        self._disabled = False

    def __call__(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs of `step`."""
        shape = tuple((name, tuple(batch[name].shape)) for name in sorted(batch))
        recording = self._graphs.get(shape)
        if recording is None and self._should_record(shape):
            recording = self._record_graph(shape, batch)
        if recording is None:
            return self._run_eagerly(batch)
        recording.replay(batch)
        loss: Tensor = _ReplayedLoss.apply(self.parameters[0], recording, self.parameters)  # type: ignore[no-untyped-call]
        return loss, *(output.clone() for output in recording.outputs[1:])  # the next replay overwrites them

    def _run_eagerly(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        try:
            return self.step(dict(batch))
        except torch.OutOfMemoryError:
            if not self._graphs:
                raise
        self._give_up("they leave too little memory for a step without a graph")
        return self.step(dict(batch))

    def _should_record(self, shape: Any) -> bool:
        self._seen[shape] += 1
        has_space = len(self._graphs) < MAX_GRAPHS and self._held < self._limit
        return self._seen[shape] > FIRST_EAGER and has_space and not self._disabled

    def _record_graph(self, shape: Any, batch: Mapping[str, Tensor]) -> GraphRecording | None:
        if self._pool is None and torch.cuda.is_available():
            self._pool = torch.cuda.graph_pool_handle()
        # Autograd keeps a node per parameter while a graph uses it, on the stream where it was made. A node from a step on
        # the default stream would make that stream wait for the recording one, which CUDA forbids.
        self._release()
        before = self._reserved()
        try:
            recording = self._record(self.step, batch, self.parameters, self._pool)
        except RuntimeError as error:
            message = str(error).splitlines()[0]
        else:
            self._held += max(0, self._reserved() - before)
            self._graphs[shape] = recording
            GraphedStep.recorded += 1
            return recording
        finally:
            self._release()
        _reset_generator()
        self._give_up(f"a step cannot be recorded ({message})")
        return None

    def _give_up(self, reason: str) -> None:
        """Free all graphs and record no other."""
        logger.warning("CUDA graphs are off: %s", reason)
        self._disabled, self._pool = True, None
        self._graphs.clear()
        self._release()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class _ReplayedLoss(torch.autograd.Function):
    """The loss of a replayed step; its backward adds the gradients, which the replay has computed, to the parameters."""

    @staticmethod
    def forward(ctx: Any, _anchor: Tensor, recording: GraphRecording, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Return a copy of the loss; `_anchor` makes it require a gradient."""
        ctx.recording, ctx.parameters = recording, parameters
        return recording.outputs[0].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:  # type: ignore[override]
        """Add each parameter's gradient times that of the loss, as autograd would."""
        pairs = zip(ctx.parameters, ctx.recording.gradients, strict=True)
        given = [(parameter, found) for parameter, found in pairs if found is not None]
        scaled = torch._foreach_mul([found for _, found in given], gradient)
        before = [
            (parameter, own) for (parameter, _), own in zip(given, scaled, strict=True) if parameter.grad is not None
        ]
        if before:
            torch._foreach_add_([parameter.grad for parameter, _ in before], [own for _, own in before])
        for (parameter, _), own in zip(given, scaled, strict=True):
            if parameter.grad is None:
                parameter.grad = own
        return None, None, None


@cache
def _side_stream() -> Any:
    """Return the stream of all warm-ups, so that each can use the memory of the one before."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def _memory_for_graphs() -> float:
    """Return the bytes that graphs may hold; there is no limit without a GPU, where nothing is recorded."""
    if not torch.cuda.is_available():
        return float("inf")
    return MEMORY_SHARE * float(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)


def _reset_generator() -> None:
    """Reset the GPU's random generator, which stays in recording mode after a failed recording."""
    if torch.cuda.is_available():
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        generator.graphsafe_set_state(generator.clone_state())
