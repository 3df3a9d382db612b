"""A deduplication for a process of its own, which is killed at one of PLACES: work for `worlds.exit_code_of`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

PLACES = {
    "vectors": "flipkd.teachers.kept_teacher:KeptTeacherModel.embed",
    "candidates": "flipkd.commands.candidates:new_row_file",
    "scores": "flipkd.matcher:Matcher.predict",
    "clusters": "flipkd.commands.dedupe:write_clusters",
}


def dedupe_until(settings: dict[str, Any], place: str, call: int) -> None:
    """Deduplicate; SIGKILL comes at the given call of the function at `place`, before it does anything."""
    from importlib import import_module

    import torch

    from flipkd.command_config import DedupeConfig
    from flipkd.commands import match
    from flipkd.commands.dedupe import dedupe
    from flipkd.data import arrow
    from flipkd.errors import FlipkdError

    torch.set_num_threads(1)
    match.BLOCK = 8
    arrow.BATCH_ROWS = 4
    path, _, name = PLACES[place].partition(":")
    owner: Any = import_module(path)
    for part in name.split(".")[:-1]:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name.split(".")[-1]), []

    def killed(*arguments: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **more)

    setattr(owner, name.split(".")[-1], killed)
    try:
        dedupe(DedupeConfig.check(settings))
    except FlipkdError as error:
        sys.exit(error.exit_code)
