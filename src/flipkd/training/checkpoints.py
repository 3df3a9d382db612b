"""Checkpoints that count only when complete: a manifest is written last, and resuming checks it."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from flipkd import ranks
from flipkd.errors import ArtefactError
from flipkd.files import MANIFEST, check_manifest, read_json, write_manifest

logger = logging.getLogger(__name__)
NAME = re.compile(r"^checkpoint-(\d+)$")


class CheckpointManifests(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Seals each checkpoint once transformers has written all of it, and then keeps the newest `keep`; None: all."""

    def __init__(self, keep: int | None = None) -> None:
        self.keep = keep

    def on_save(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Write the manifest of the checkpoint that was just saved."""
        ranks.barrier()  # each rank writes the state of its own random generators
        if state.is_world_process_zero:
            write_manifest(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            if self.keep:
                remove_old(Path(args.output_dir), step=state.global_step, keep=self.keep)


def remove_old(output_dir: Path, *, step: int, keep: int) -> None:
    """Remove the checkpoints before the newest `keep` sealed ones up to `step`.

    Transformers would go by the time of change, and remove the newest when the clock was set back.
    """
    earlier = [(number, folder) for number, folder in _numbered(output_dir) if number <= step]
    sealed = [number for number, folder in earlier if (folder / MANIFEST).exists()]
    for number, folder in earlier:
        if sealed[keep - 1 :] and number < sealed[keep - 1]:
            shutil.rmtree(folder, ignore_errors=True)


class GivenIntervals(TrainerCallback):  # type: ignore[misc]
    """Keeps the intervals of logging and saving that are given now, where transformers takes those of the checkpoint."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Put them into the state that was read back."""
        state.compute_steps(args, state.max_steps)


def is_last(checkpoint: Path) -> bool:
    """Whether no step is left after it."""
    state = read_json(checkpoint / "trainer_state.json")
    return bool(state["global_step"] >= state["max_steps"])


def checkpoint_to_resume(output_dir: Path) -> Path | None:
    """The newest valid checkpoint as rank 0 finds it, the same on all ranks."""
    found = ranks.on_rank_0(lambda: last_valid_checkpoint(output_dir))
    step = ranks.broadcast(-1 if found is None else int(found.name.rpartition("-")[2]))
    return None if step < 0 else output_dir / f"checkpoint-{step}"


def last_valid_checkpoint(output_dir: Path) -> Path | None:
    """The newest checkpoint whose manifest matches; transformers itself takes the highest number and checks nothing.

    Every checkpoint that is passed over is logged with its reason.
    """
    for _, folder in _numbered(output_dir):
        try:
            check_manifest(folder)
        except ArtefactError as error:
            logger.warning("skipped %s (%s)", folder.name, error)
        else:
            return folder
    return None


def _numbered(output_dir: Path) -> list[tuple[int, Path]]:
    """(Step, folder) of every checkpoint, the highest step first."""
    numbered = [(int(found.group(1)), p) for p in output_dir.glob("checkpoint-*") if (found := NAME.match(p.name))]
    return sorted(numbered, reverse=True)
