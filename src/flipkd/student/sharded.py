"""Shard the frozen base of a student over all ranks with torch's FSDP; the adapters stay complete on every rank.

Only the base is large. Each rank stores 1/N of every weight, and a layer is gathered just before it runs and freed after it.
Adapters, their gradients and the optimizer are those of data parallel training, so checkpoints and matchers are too.
Source: PyTorch FSDP (Zhao et al., VLDB 2023, arXiv 2304.11277), as `fully_shard` (FSDP2).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from flipkd import ranks
from flipkd.errors import ConfigError
from flipkd.ranks import Result
from flipkd.student.attention import PACKED
from flipkd.student.label_head import label_head
from flipkd.student.model import Student

logger = logging.getLogger(__name__)


def shard_base(student: Student, *, device: str) -> None:
    """Move a student from the CPU to `device`, layer by layer, where it keeps this rank's part of the base.

    All ranks must call this, and run the same passes from then on: each pass gathers the layers from all ranks. Raises
    ConfigError for padded rows in separate reading.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from transformers.modeling_layers import GradientCheckpointingLayer
    from transformers.utils.output_capturing import _CAN_RECORD_REGISTRY

    if student.prompt.reading == "separate" and not student.padding_free:
        # FSDP gathers a layer again when its output gets a gradient. The readout reads inside of the last layer, and the
        # output of that layer gets none in a pass over the texts alone. In other passes the answer gives it one, if only 0.
        raise ConfigError(
            f"FSDP cannot train reading=separate with attn_implementation="
            f"{student.language_model.config._attn_implementation}; set attn_implementation to {PACKED}, or reading to joint "
            "or blocked"
        )
    target = torch.device(device)
    weight, bias = label_head(student.language_model, student.label_rows)
    student.label_head = weight.detach().to(target), None if bias is None else bias.detach().to(target)
    student.language_model.get_output_embeddings().to_empty(device="meta")  # nothing else reads the LM head
    trained = {parameter for parameter in student.parameters() if parameter.requires_grad}
    for parameter in trained:
        parameter.data = parameter.data.to(target)
    model: Any = student.language_model
    decoder: Any = model.get_decoder()
    layers = [module for module in decoder.modules() if isinstance(module, GradientCheckpointingLayer)]
    mesh = init_device_mesh(target.type, (ranks.world_size(),))
    for module in (*reversed(layers), model.get_input_embeddings(), decoder):  # inner modules first
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=trained)
    # transformers finds the outputs that a model can return by its class, which fully_shard has replaced by a subclass.
    _CAN_RECORD_REGISTRY[decoder] = decoder._can_record_outputs
    student.label_rows = student.label_rows.to(target)
    student.sharded = True
    logger.warning("FSDP: each of %d processes has a part of the base model", ranks.world_size())


def on_ranks_of(student: Student, function: Callable[[], Result]) -> Result | None:
    """Call `function`, which runs the student, on rank 0 alone; on all ranks if the base is sharded. Rank 0 gets the result."""
    return function() if student.sharded else ranks.on_rank_0(function)
