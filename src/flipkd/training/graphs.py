"""Forward and backward passes of a step replayed as CUDA graphs: one launch each instead of thousands.

A step of a small model is a few thousand kernels of some microseconds, and launching one costs the host about as long as
it runs or longer. A graph is recorded once per shape of the batch and replayed for every batch of that shape, so shapes
must be few: `rows.pack` rounds them up. Nothing in a recorded step may read a device value or depend on one in its shapes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)
FIRST_EAGER = 1  # batches of a shape that run as usual: they warm up kernels, and a rare shape is not worth a graph
MOST_GRAPHS = 48  # each holds memory for the gradients of all adapters
Step = Callable[[dict[str, Tensor]], tuple[Tensor, ...]]


class GraphedStep:
    """Calls `step(batch)`, after the first batch of each shape through CUDA graphs; gradients reach `parameters`.

    step: tensors by name -> tensors, of which the first has the gradients. `forget` lets go of what an earlier step left
    behind. A step that cannot be recorded runs as usual from then on, with one warning.
    """

    def __init__(
        self,
        step: Step,
        parameters: Sequence[nn.Parameter],
        *,
        forget: Callable[[], None] = lambda: None,
        record: Callable[..., Any] | None = None,
    ) -> None:
        self.step, self.parameters, self._forget = step, list(parameters), forget
        self._record: Callable[..., Any] = record or torch.cuda.make_graphed_callables
        self._seen: Counter[Any] = Counter()
        self._graphs: dict[Any, Callable[..., tuple[Tensor, ...]]] = {}
        self._pool: Any = None
        self._broken = False

    def __call__(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """What `step` gives; outputs are overwritten by the next batch of the same shape."""
        names = sorted(batch)
        shape = tuple((name, tuple(batch[name].shape)) for name in names)
        graph = self._graphs.get(shape)
        if graph is None and self._worth_it(shape):
            graph = self._recorded(shape, names, batch)
        if graph is None:
            return self.step(dict(batch))
        return graph(*(batch[name] for name in names), *self.parameters)

    def _worth_it(self, shape: Any) -> bool:
        self._seen[shape] += 1
        return self._seen[shape] > FIRST_EAGER and len(self._graphs) < MOST_GRAPHS and not self._broken

    def _recorded(
        self, shape: Any, names: Sequence[str], batch: Mapping[str, Tensor]
    ) -> Callable[..., tuple[Tensor, ...]] | None:
        def called(*tensors: Tensor) -> tuple[Tensor, ...]:
            return self.step(dict(zip(names, tensors, strict=False)))

        if self._pool is None and torch.cuda.is_available():
            self._pool = torch.cuda.graph_pool_handle()
        own = tuple(batch[name].clone() for name in names)
        # Autograd keeps a node per parameter as long as some graph uses it, on the stream where it was made. One from a
        # step on the default stream would make that stream wait for the one that records, which CUDA forbids.
        self._forget()
        try:
            graph: Callable[..., tuple[Tensor, ...]] = self._record(
                called, (*own, *self.parameters), num_warmup_iters=1, allow_unused_input=True, pool=self._pool
            )
        except RuntimeError as error:
            logger.warning("CUDA graphs are off: a step cannot be recorded (%s)", str(error).splitlines()[0])
            self._broken = True
            _free_generator()
            return None
        self._graphs[shape] = graph
        return graph


def _free_generator() -> None:
    """A recording that failed leaves the GPU's random generator believing that it goes on."""
    if torch.cuda.is_available():
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        generator.graphsafe_set_state(generator.clone_state())
