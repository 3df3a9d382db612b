"""transformers.Trainer with four changes: a resumable length-grouped order, the readout's own learning rate, the objectives
in the log, an orderly stop.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ProgressCallback
from transformers.trainer_utils import seed_worker

from flipkd.data.pair_table import PairTable
from flipkd.errors import ConfigError, RefusedError, ResourceError, StoppedError
from flipkd.files import resource_errors, write_text
from flipkd.student.readout import down_parameters
from flipkd.training.arguments import REFUSED, training_arguments
from flipkd.training.batches import Collator, LengthGroupedRows, RowNumbers
from flipkd.training.checkpoints import CheckpointManifests, GivenIntervals, checkpoint_to_resume, is_last
from flipkd.training.gradients import GradientNorms
from flipkd.training.graphs import GraphedStep
from flipkd.training.health_checks import HealthChecks
from flipkd.training.lines import TrainingLines
from flipkd.training.module import DistillationModule
from flipkd.training.sharding import RankBatches, StepSeed
from flipkd.training.stop import GracefulStop

logger = logging.getLogger(__name__)
METRICS = "metrics.jsonl"
TORN = 2**62  # beyond all steps: where a killed run's last line counts


class DistillationTrainer(Trainer):  # type: ignore[misc]  # transformers has no types here
    """A Trainer whose order of rows depends on seed and epoch alone and whose log shows each objective."""

    readout_learning_rate: float | None = None
    swap_texts = False
    augment_texts = 0.0

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Transformers' optimizer; what is read learns at a rate of its own, with the same schedule."""
        fresh = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if fresh and self.readout_learning_rate is not None:
            student = self.model.student
            read = list(down_parameters(student.language_model, student.readout.places).values())
            for group in optimizer.param_groups:
                group["params"] = [p for p in group["params"] if not any(p is other for other in read)]
            own = {"params": read, "lr": self.readout_learning_rate, "weight_decay": self.args.weight_decay}
            optimizer.add_param_group(own)
        return optimizer

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of this rank; accelerate, which would share out whole batches, only moves them to the device."""
        args, table = self.args, self.data_collator.table
        lengths = self.data_collator.student.prompt.pair_lengths(table.left, table.right)
        together = self._train_batch_size * args.world_size
        rows = LengthGroupedRows(
            lengths,
            batch_size=together,
            seed=args.seed,
            swap_texts=self.swap_texts,
            augment_texts=self.augment_texts,
        )
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=RankBatches(
                rows, processes=args.world_size, process=args.process_index, drop_last=args.dataloader_drop_last
            ),
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            multiprocessing_context=args.dataloader_multiprocessing_context,
            prefetch_factor=args.dataloader_prefetch_factor,
            in_order=args.dataloader_in_order,
            worker_init_fn=partial(seed_worker, num_workers=args.dataloader_num_workers, rank=args.process_index),
        )
        prepared: DataLoader[Any] = prepare_data_loader(
            loader,
            self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
            non_blocking=self.accelerator.non_blocking,
        )
        return prepared

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean of each objective since the last line."""
        if "loss" in logs:
            logs |= self.model.recorder.drain()
        super().log(logs, start_time)


class MetricsFile(TrainerCallback):  # type: ignore[misc]
    """Every logged line also goes to `metrics.jsonl`; lines beyond the resumed step are dropped, so none stands twice."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        """Keep what the resumed checkpoint has seen."""
        if not state.is_world_process_zero:
            return
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        kept = [line for line in lines if _step(line) <= state.global_step]
        write_text(self.path, "".join(line + "\n" for line in kept))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_unused: Any
    ) -> None:
        """Append one line."""
        if state.is_world_process_zero and logs is not None:
            with resource_errors(self.path), self.path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def fit(
    module: DistillationModule,
    table: PairTable,
    *,
    output_dir: Path,
    arguments: Mapping[str, Any],
    readout_learning_rate: float | None = None,
    swap_texts: bool = False,
    augment_texts: float = 0.0,
    log_gradient_norms: bool = False,
) -> dict[str, float]:
    """Train `module` on `table`; goes on from the newest valid checkpoint in `output_dir`. Returns the Trainer's metrics.

    `arguments` are fields of transformers' TrainingArguments; without `readout_learning_rate` their rate is A's as well;
    with `swap_texts` each pair is read in both orders in turn; of a share `augment_texts` of the pairs a text is altered
    (augment.py). `log_gradient_norms` adds that of each objective to the log
    and changes nothing else.
    Raises StoppedError after an orderly stop.
    """
    stop = GracefulStop()
    given = training_arguments(output_dir, arguments)
    checkpoint = checkpoint_to_resume(output_dir)
    if checkpoint:
        logger.warning("resuming at %s", checkpoint.name)
        if is_last(checkpoint):
            # A Trainer that goes on from here makes a step too many, or makes none and says that it took no time.
            module.load_state_dict(load_file(checkpoint / "model.safetensors"))
            return totals(output_dir / METRICS)
    with _explained(output_dir):
        watchers = [GradientNorms(module)] if log_gradient_norms else []
        trainer = _trainer(module, table, given, callbacks=[MetricsFile(output_dir / METRICS), stop, *watchers])
        if not given.disable_tqdm:
            trainer.pop_callback(ProgressCallback)
            trainer.add_callback(TrainingLines())
        trainer.readout_learning_rate = readout_learning_rate
        trainer.swap_texts, trainer.augment_texts = swap_texts, augment_texts
        with stop.listening():
            result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    module.graphed, module.student.pad_to_buckets = None, False  # their memory is free for scoring
    if stop.asked_all and trainer.state.global_step < trainer.state.max_steps:
        raise StoppedError(
            f"stopped at step {trainer.state.global_step} and saved; the same command goes on from there"
        )
    return {name: float(value) for name, value in result.metrics.items()}


def _trainer(
    module: DistillationModule, table: PairTable, given: TrainingArguments, *, callbacks: list[TrainerCallback]
) -> DistillationTrainer:
    module.after_head = _shares_head(module, given)
    if _replays_graphs(module, given):
        trainable = [p for p in module.parameters() if p.requires_grad]
        module.graphed, module.student.pad_to_buckets = (
            GraphedStep(module.step, trainable, forget=module.student.adapters.forget),
            True,
        )
    module.hold_parameters()
    if given.ddp_find_unused_parameters is None:
        # Without an objective of the answer nothing reaches the adapters behind the last place that is read.
        given.ddp_find_unused_parameters = not any("answers" in term.needs for term in module.objectives)
    collator = Collator(
        module.student, table, return_embeddings=module.return_embeddings, after_head=module.after_head
    )
    manifests, given.save_total_limit = CheckpointManifests(given.save_total_limit), None
    try:
        return DistillationTrainer(
            model=module,
            args=given,
            data_collator=collator,
            train_dataset=RowNumbers(len(table)),
            callbacks=[StepSeed(module), HealthChecks(module), GivenIntervals(), manifests, *callbacks],
        )
    except torch.OutOfMemoryError:
        raise
    except (ImportError, ValueError, RuntimeError) as error:
        # A tracker that is not installed, an evaluation without data.
        raise ConfigError(f"{REFUSED}: {error}") from error


def _shares_head(module: DistillationModule, arguments: TrainingArguments) -> bool:
    """Whether the template's head is read once a step for all rows.

    It pays where texts are read alone as well (docs/performance.md); in other readings it costs what it saves. Compiled
    layers would each be compiled for themselves, and checkpointed ones keep no keys and values.
    """
    student = module.student
    pays = module.return_embeddings and student.prompt.reading == "separate" and not student.padding_free
    return pays and student.head_fits and not student.compiled and not arguments.activation_checkpointing


def _replays_graphs(module: DistillationModule, arguments: TrainingArguments) -> bool:
    """Whether steps run as CUDA graphs: packed rows on one GPU, with nothing that changes from step to step but the batch."""
    student = module.student
    return (
        student.device.type == "cuda"
        and student.padding_free
        and arguments.world_size == 1
        and not (student.compiled or module.queue.size or arguments.activation_checkpointing)
    )


@contextlib.contextmanager
def _explained(output_dir: Path) -> Iterator[None]:
    try:
        with resource_errors(output_dir):
            yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ResourceError(
            "memory ran out; halve per_device_train_batch_size and double gradient_accumulation_steps, "
            "in another output_dir if this one has a checkpoint"
        ) from error
    except ImportError as error:  # of an optimizer that is a package of its own
        raise ConfigError(f"{REFUSED}: {error}") from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise ResourceError(
            f"a process that makes batches has ended ({error}); run the same command to go on from the last checkpoint, "
            "with training_arguments.dataloader_num_workers=0 in another output_dir if memory does not suffice"
        ) from error
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":
            raise
        raise RefusedError(
            f"{output_dir}: the newest checkpoint holds a pickle that could run code, so it was not read; delete that "
            "checkpoint, and the same command goes on from the one before"
        ) from error


def totals(path: Path) -> dict[str, float]:
    """What the Trainer said of the whole run in its `metrics.jsonl`; empty when it was killed before."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in reversed(lines):
        if _step(line) < TORN and "train_runtime" in (values := json.loads(line)):
            return {name: float(value) for name, value in values.items() if name != "step"}
    return {}


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return TORN
