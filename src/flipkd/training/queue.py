"""A queue of right-hand texts of earlier steps, as further columns of the grid: more comparisons without a further pass.

A cross-batch memory (Wang et al., CVPR 2020, arXiv 1912.06798): the student's embeddings are those of their own step,
slightly outdated and without gradient; the teacher's are exact.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

PREFIX = "queue."


class Queue:
    """The last `size` right-hand texts: the student's embeddings [Q, D], the teacher's [Q, d], ids [Q]."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._columns: dict[str, Tensor] = {}

    def extend(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each column followed by the queue's; then add the batch to the queue and drop the oldest texts."""
        queued = self._columns
        extended = {name: torch.cat([new, queued[name]]) if queued else new for name, new in columns.items()}
        # The first batch may be a view into both sides, which safetensors does not save.
        self._columns = {name: column.detach()[: self.size].contiguous() for name, column in extended.items()}
        return extended

    def state(self) -> dict[str, Tensor]:
        """Return the tensors for a checkpoint, so that a resumed run equals an uninterrupted one."""
        return {PREFIX + name: column for name, column in self._columns.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load the tensors of a checkpoint."""
        self._columns = {name.removeprefix(PREFIX): column for name, column in state.items()}
