"""ModelLock, for the threads that share a model; in a forked process it refuses a model that would hang there."""

from __future__ import annotations

import os
from threading import Lock

from flipkd.errors import UsageError


class ModelLock:
    """A lock as a context manager. A forked process gets one of its own: a thread of its parent may have held the other.

    Raises UsageError in a process that was forked after the model was loaded, if torch runs several threads: a fork has none
    of the parent's, and OpenMP would wait for them forever.
    """

    def __init__(self) -> None:
        self._locks = {os.getpid(): Lock()}

    def __enter__(self) -> None:
        process = os.getpid()
        if process not in self._locks and _threads() > 1:
            raise UsageError(
                "this process was forked after the model was loaded, and would wait forever for threads that only its parent "
                "has; load the model in each process (gunicorn without preload, multiprocessing with the start method "
                "spawn), or call torch.set_num_threads(1) here first"
            )
        self._locks.setdefault(process, Lock()).acquire()

    def __exit__(self, *error: object) -> None:
        self._locks[os.getpid()].release()


def _threads() -> int:
    import torch  # here, since commands import this module before they check their files

    return torch.get_num_threads()
