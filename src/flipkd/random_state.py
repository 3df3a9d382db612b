"""The random state of the process while a model is trained: one training at a time, and the state is put back."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

logger = logging.getLogger(__name__)
_TRAINING = threading.RLock()


@contextmanager
def own_random_state() -> Iterator[None]:
    """Context manager and decorator around a training, which seeds the generators of the process; puts their state back.

    These are those of `random`, numpy and torch. Two trainings at once would draw from each other's, and replace accelerate's
    state of the process, so a thread waits until no other one trains.
    """
    import torch  # here, since commands import this module before they check their files

    if not _TRAINING.acquire(blocking=False):
        logger.warning("another thread of this process is training; waiting until it ends")
        _TRAINING.acquire()
    try:
        before = random.getstate(), np.random.get_state()
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
        with torch.random.fork_rng(devices):
            try:
                yield
            finally:
                random.setstate(before[0])
                np.random.set_state(before[1])
    finally:
        _TRAINING.release()
