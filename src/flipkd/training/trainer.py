"""transformers.Trainer with a resumable length-grouped order, a readout learning rate, objectives in the log, and a stop."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ProgressCallback
from transformers.trainer_utils import seed_worker

from flipkd.data.pair_table import PairTable
from flipkd.errors import ConfigError, StoppedError
from flipkd.student.readout import down_parameters
from flipkd.training.arguments import REFUSED, training_arguments
from flipkd.training.averaging import AverageWeights, trained_weights
from flipkd.training.batches import Collator, LengthGroupedRows, RowNumbers
from flipkd.training.checkpoints import (
    CheckpointManifests,
    GivenIntervals,
    checkpoint_to_resume,
    is_final_checkpoint,
    load_checkpoint,
)
from flipkd.training.early_stopping import EarlyStopping
from flipkd.training.fsdp import hidden_from_libraries
from flipkd.training.gradients import GradientNorms
from flipkd.training.graphs import GraphedStep
from flipkd.training.health_checks import HealthChecks
from flipkd.training.lines import TrainingLines
from flipkd.training.metrics_file import METRICS, MetricsFile, read_totals
from flipkd.training.module import DistillationModule
from flipkd.training.run_errors import explain_errors
from flipkd.training.sharding import RankBatches, StepSeed
from flipkd.training.stop import GracefulStop

logger = logging.getLogger(__name__)


class DistillationTrainer(Trainer):  # type: ignore[misc]  # transformers has no types here
    """A Trainer whose order of rows depends on seed and epoch alone, and whose log has each objective."""

    readout_learning_rate: float | None = None
    swap_texts = False
    augment_texts = 0.0

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return transformers' optimizer; A of the readout layers has its own learning rate, with the same schedule."""
        is_new = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if is_new and self.readout_learning_rate is not None:
            student = self.model.student
            read = list(down_parameters(student.language_model, student.readout.module_names).values())
            for group in optimizer.param_groups:
                group["params"] = [p for p in group["params"] if not any(p is other for other in read)]
            readout = {"params": read, "lr": self.readout_learning_rate, "weight_decay": self.args.weight_decay}
            optimizer.add_param_group(readout)
        return optimizer

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the batches of this rank. accelerate only moves them to the device: it would distribute complete batches."""
        args, table = self.args, self.data_collator.table
        lengths = self.data_collator.student.prompt.pair_lengths(table.left, table.right)
        step_size = self._train_batch_size * args.world_size
        rows = LengthGroupedRows(
            lengths,
            batch_size=step_size,
            seed=args.seed,
            swap_texts=self.swap_texts,
            augment_texts=self.augment_texts,
            both_orders=self.model.reads_both_orders,
            list_of=self.data_collator.list_of.tolist() if self.data_collator.return_lists else None,
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
            non_blocking=args.dataloader_pin_memory,  # a copy of pageable memory waits for the GPU anyway
        )
        return prepared

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        """Move the model as transformers does; a sharded base is on its device already, and torch cannot move it."""
        if not model.student.sharded:
            super()._move_model_to_device(model, device)

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> nn.Module:
        """Wrap the model as transformers does; where FSDP has the base, DDP averages the gradients of the adapters alone."""
        if not model.student.sharded or not training:
            wrapped: nn.Module = super()._wrap_model(model, training, dataloader)
            return wrapped
        frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
        model._ddp_params_and_buffers_to_ignore = frozen  # accelerate would refuse to wrap them
        return DistributedDataParallel(model, **self.accelerator.ddp_handler.to_kwargs())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the values with the mean of each objective since the last line."""
        if "loss" in logs:
            logs |= self.model.recorder.drain()
        super().log(logs, start_time)


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
    early_stopping: EarlyStopping | None = None,
) -> dict[str, float]:
    """Train `module` on `table`, from the newest valid checkpoint in `output_dir`. Returns the Trainer's metrics.

    `arguments` are fields of transformers' TrainingArguments; their learning rate is also that of the readout unless
    `readout_learning_rate` is given. With `swap_texts` each pair is read in both orders, alternating by epoch. A share
    `augment_texts` of the pairs is augmented (augment.py). `log_gradient_norms` logs the norm of each objective's gradient
    and changes nothing else. Where the module averages its weights, it has the average at the end. Raises StoppedError.
    """
    stop = GracefulStop()
    given = training_arguments(output_dir, arguments)
    checkpoint = checkpoint_to_resume(output_dir)
    if checkpoint:
        logger.warning("resuming at %s", checkpoint.name)
        if is_final_checkpoint(checkpoint, patience=early_stopping.patience if early_stopping else None):
            # A Trainer that resumes here makes one step too many, or makes none and logs a runtime of 0.
            load_checkpoint(module, checkpoint)
            return read_totals(output_dir / METRICS)
    with explain_errors(output_dir), hidden_from_libraries():
        optional = [GradientNorms(module)] if log_gradient_norms else []
        optional += [AverageWeights(module.average, module)] if module.average.share else []
        # Early stopping comes before `stop`, whose checkpoint at a signal is not measured.
        early = [early_stopping] if early_stopping else []
        callbacks = [MetricsFile(output_dir / METRICS), *early, stop, *optional]
        trainer = _trainer(module, table, given, callbacks=callbacks)
        if not given.disable_tqdm:
            trainer.pop_callback(ProgressCallback)
            trainer.add_callback(TrainingLines())
        trainer.readout_learning_rate = readout_learning_rate
        trainer.swap_texts, trainer.augment_texts = swap_texts, augment_texts
        with stop.handle_signals():
            result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    module.graphed, module.student.pad_to_buckets = None, False  # frees their memory for scoring
    if stop.all_requested and trainer.state.global_step < trainer.state.max_steps:
        raise StoppedError(
            f"stopped at step {trainer.state.global_step} and saved; the same command resumes from there"
        )
    module.average.apply(trained_weights(module))
    return {name: float(value) for name, value in result.metrics.items()}


def _trainer(
    module: DistillationModule, table: PairTable, given: TrainingArguments, *, callbacks: list[TrainerCallback]
) -> DistillationTrainer:
    module.drop_head = _shares_head(module, given)
    if _replays_graphs(module, given):
        trainable = [p for p in module.parameters() if p.requires_grad]
        module.graphed = GraphedStep(module.step, trainable, release=module.student.adapters.release)
        module.student.pad_to_buckets = True
    module.cache_parameters()
    if given.ddp_find_unused_parameters is None:
        # Without an objective of the answer the adapters after the last readout layer get no gradient.
        given.ddp_find_unused_parameters = not any("answers" in term.needs for term in module.objectives)
    collator = Collator(
        module.student,
        table,
        return_embeddings=module.return_embeddings,
        return_lists="lists" in module.needs,
        drop_head=module.drop_head,
        both_orders=module.reads_both_orders,
    )
    if collator.return_lists:
        _require_lists(module, collator)
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
        # For example a tracker that is not installed, or an evaluation without data.
        raise ConfigError(f"{REFUSED}: {error}") from error


def _require_lists(module: DistillationModule, collator: Collator) -> None:
    """Raise ConfigError when every list has one pair only."""
    if len(set(collator.list_of.tolist())) == len(collator.table):
        names = ", ".join(term.name for term in module.objectives if "lists" in term.needs)
        raise ConfigError(
            f"{names}: compares the pairs of one query, and no two training pairs have the same first text; put the query "
            "into text1, or set the weight to 0"
        )


def _shares_head(module: DistillationModule, arguments: TrainingArguments) -> bool:
    """Return whether the template's head is encoded once per step for all rows.

    This saves time with `reading=separate` (docs/performance.md), and none otherwise. Compiled layers would be compiled
    again, and checkpointed layers keep no keys and values.
    """
    student = module.student
    saves_time = module.return_embeddings and student.prompt.reading == "separate" and not student.padding_free
    return saves_time and student.can_cache_head and not student.compiled and not arguments.activation_checkpointing


def _replays_graphs(module: DistillationModule, arguments: TrainingArguments) -> bool:
    """Return whether steps run as CUDA graphs: packed rows on one GPU, where only the batch changes from step to step."""
    student = module.student
    return (
        student.device.type == "cuda"
        and student.padding_free
        and arguments.world_size == 1
        and not (student.compiled or module.queue.size or arguments.activation_checkpointing)
    )
