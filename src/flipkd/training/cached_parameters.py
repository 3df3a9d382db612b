"""An nn.Module that collects its parameters once instead of several times per step."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


class CachedParametersModule(nn.Module):
    """A module whose parameters are cached on request.

    The Trainer collects all parameters several times per step. For the thousand modules of a small model this takes longer
    than its step on a GPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self._parameter_cache: list[nn.Parameter] | None = None

    def cache_parameters(self) -> None:
        """Cache the parameters from now on. Not for a model that is sharded later: its parameters change."""
        self._parameter_cache = list(self.parameters())

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Return the parameters as nn.Module does, or the cached ones."""
        return super().parameters(recurse) if self._parameter_cache is None else iter(self._parameter_cache)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove the gradients as nn.Module does, or those of the cached parameters."""
        if self._parameter_cache is None or not set_to_none:
            super().zero_grad(set_to_none)
            return
        for parameter in self._parameter_cache:
            parameter.grad = None
