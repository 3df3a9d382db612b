"""Exceptions of torch and transformers during training, as errors that say what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from flipkd.errors import ConfigError, RefusedError, ResourceError
from flipkd.files import resource_errors
from flipkd.training.arguments import REFUSED


@contextlib.contextmanager
def explain_errors(output_dir: Path) -> Iterator[None]:
    """Context manager around the training that turns exceptions of libraries into those of flipkd.

    Raises ResourceError for too little memory, a full disk or a killed data loader, ConfigError for a missing package of an
    optimizer, RefusedError for a pickled checkpoint. Other exceptions pass.
    """
    try:
        with resource_errors(output_dir):
            yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ResourceError(
            "memory ran out; halve per_device_train_batch_size and double gradient_accumulation_steps, "
            "in another output_dir if this one has a checkpoint"
        ) from error
    except ImportError as error:  # of an optimizer in a separate package
        raise ConfigError(f"{REFUSED}: {error}") from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise ResourceError(
            f"a data loader process has ended ({error}); run the same command to resume from the last checkpoint, or, "
            "if memory is too small, use training_arguments.dataloader_num_workers=0 in another output_dir"
        ) from error
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":
            raise
        raise RefusedError(
            f"{output_dir}: the newest checkpoint holds a pickle that could run code, so it was not read; delete that "
            "checkpoint, and the same command resumes from the one before"
        ) from error
