"""Checkpoints: manifests, written after all other files and checked when a run resumes, and the choice of the best one."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file
from transformers import TrainerCallback

from flipkd import ranks
from flipkd.errors import ArtefactError
from flipkd.files import MANIFEST, check_manifest, read_json, write_manifest
from flipkd.training.averaging import trained_weights
from flipkd.training.early_stopping import has_stopped

if TYPE_CHECKING:
    from flipkd.training.module import DistillationModule

logger = logging.getLogger(__name__)
NAME = re.compile(r"^checkpoint-(\d+)$")


class CheckpointManifests(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Write the manifest of each checkpoint after transformers has saved it, and keep the newest `keep` (None: all)."""

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
    """Remove the checkpoints before the newest `keep` complete ones (with a manifest) up to `step`.

    Transformers sorts by modification time, and would remove the newest after the clock was set back.
    """
    earlier = [(number, folder) for number, folder in _checkpoints_newest_first(output_dir) if number <= step]
    complete = [number for number, folder in earlier if (folder / MANIFEST).exists()]
    for number, folder in earlier:
        if complete[keep - 1 :] and number < complete[keep - 1]:
            shutil.rmtree(folder, ignore_errors=True)


class GivenIntervals(TrainerCallback):  # type: ignore[misc]
    """Restore the given intervals of logging and saving, which transformers replaces by those of the checkpoint."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Set them in the state that was loaded from the checkpoint."""
        state.compute_steps(args, state.max_steps)


def is_final_checkpoint(checkpoint: Path, *, patience: int | None = None) -> bool:
    """Return whether no step is left after this checkpoint, or early stopping with this `patience` ended the run there."""
    state = read_json(checkpoint / "trainer_state.json")
    return bool(state["global_step"] >= state["max_steps"]) or has_stopped(state["log_history"], patience)


def checkpoint_to_resume(output_dir: Path) -> Path | None:
    """Return the newest valid checkpoint that rank 0 finds, the same on all ranks; None without one."""
    found = ranks.on_rank_0(lambda: last_valid_checkpoint(output_dir))
    step = ranks.broadcast(-1 if found is None else int(found.name.rpartition("-")[2]))
    return None if step < 0 else output_dir / f"checkpoint-{step}"


def last_valid_checkpoint(output_dir: Path) -> Path | None:
    """Return the newest checkpoint whose manifest matches; transformers takes the highest number and checks nothing."""
    return next(valid_checkpoints(output_dir), None)


def valid_checkpoints(output_dir: Path) -> Iterator[Path]:
    """Yield the checkpoints whose manifests match, the newest first. Every skipped one is logged with the reason."""
    for _, folder in _checkpoints_newest_first(output_dir):
        try:
            check_manifest(folder)
        except ArtefactError as error:
            logger.warning("skipped %s (%s)", folder.name, error)
        else:
            yield folder


def load_checkpoint(module: DistillationModule, checkpoint: Path) -> None:
    """Load the weights that a run which ended at this checkpoint would have: the averaged ones where it has an average."""
    module.load_state_dict(load_file(checkpoint / "model.safetensors"))
    module.average.apply(trained_weights(module))


def is_planned(checkpoint: Path, save_strategy: str) -> bool:
    """Return whether a run that no signal stops has this checkpoint as well."""
    state = read_json(checkpoint / "trainer_state.json")
    if state["global_step"] >= state["max_steps"]:
        return True
    if save_strategy == "epoch":
        return float(state["epoch"]).is_integer()
    return bool(save_strategy == "steps" and state["global_step"] % state["save_steps"] == 0)


def load_best_checkpoint(
    module: DistillationModule, output_dir: Path, measure: Callable[[], float], save_strategy: str = "steps"
) -> None:
    """Load the checkpoint with the highest `measure()` of its weights, the newest of equal ones; without one nothing changes.

    Those saved at a signal do not count, so a run that was stopped and resumed ends as an uninterrupted one.
    """
    measured = {}
    for checkpoint in valid_checkpoints(output_dir):
        if not is_planned(checkpoint, save_strategy):
            continue
        load_checkpoint(module, checkpoint)
        measured[checkpoint] = measure()
    if not measured:
        logger.warning(
            "select_checkpoint is best, but %s has no checkpoint, so the last weights are taken", output_dir
        )
        return
    best, last = max(measured, key=lambda checkpoint: measured[checkpoint]), next(iter(measured))
    load_checkpoint(module, best)
    logger.warning(
        "%s is the best of %d checkpoints: average precision %.3f on validation, the last one %.3f",
        best.name,
        len(measured),
        measured[best],
        measured[last],
    )


def _checkpoints_newest_first(output_dir: Path) -> list[tuple[int, Path]]:
    """Return (step, folder) of every checkpoint, the highest step first."""
    numbered = [(int(found.group(1)), p) for p in output_dir.glob("checkpoint-*") if (found := NAME.match(p.name))]
    return sorted(numbered, reverse=True)
