"""Right-hand texts of earlier steps as further columns of the grid: more comparisons for each text, no further pass.

A cross-batch memory (Wang et al., CVPR 2020, arXiv 1912.06798): the vectors are those of their own step, a little out of
date and without gradient; the teacher's are exact.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

PREFIX = "queue."


class Queue:
    """The last `size` right-hand texts: the student's vectors [Q, D], the teacher's [Q, d], ids [Q]."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._columns: dict[str, Tensor] = {}

    def extended(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each column with what the queue holds behind it; the batch itself then joins the queue, the oldest leave."""
        before = self._columns
        whole = {name: torch.cat([own, before[name]]) if before else own for name, own in columns.items()}
        self._columns = {name: column.detach()[: self.size] for name, column in whole.items()}
        return whole

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, so that a resumed run is the unbroken one."""
        return {PREFIX + name: column for name, column in self._columns.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what a checkpoint kept."""
        self._columns = {name.removeprefix(PREFIX): column for name, column in state.items()}
