"""Fine-tuning of a teacher on labelled pairs, through the trainers and losses of sentence-transformers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments
from transformers import PrinterCallback, TrainerCallback, set_seed

from flipkd import progress
from flipkd.data.pairs import sides_of
from flipkd.errors import ConfigError, DataError, NumbersError, nearest
from flipkd.evaluate.metrics import measure
from flipkd.files import new_folder, write_json
from flipkd.random_state import own_random_state
from flipkd.tables import pick
from flipkd.teachers.batching import LengthGroupedBatches, has_fast_bfloat16
from flipkd.teachers.bi_encoder import BiEncoderTeacher
from flipkd.teachers.cross_encoder import CrossEncoderTeacher, has_scoring_head
from flipkd.teachers.teacher import default_prompt, load_model, pair_scores
from flipkd.teachers.warm_start import graded_pairs

LOSSES = {
    "cosent": "sentence_transformers.sentence_transformer.losses:CoSENTLoss",
    "contrastive": "sentence_transformers.sentence_transformer.losses:OnlineContrastiveLoss",
    "cosine": "sentence_transformers.sentence_transformer.losses:CosineSimilarityLoss",
    "mnrl": "sentence_transformers.sentence_transformer.losses:MultipleNegativesRankingLoss",
}
# Losses without labels: each pair is a match, the other texts of the batch are non-matches.
POSITIVES_ONLY = {
    "MultipleNegativesRankingLoss",
    "CachedMultipleNegativesRankingLoss",
    "MultipleNegativesSymmetricRankingLoss",
    "CachedMultipleNegativesSymmetricRankingLoss",
    "MegaBatchMarginLoss",
}
KINDS = ["bi_encoder", "cross_encoder"]
WARM_START_RATE = (
    10  # factor of the learning rate: the head is random and the layers have not compared two texts before
)


def finetune_teacher(
    name_or_path: str | Path,
    dataset: Dataset,
    *,
    output_dir: str | Path,
    validation: Dataset | None = None,
    kind: str = "bi_encoder",
    loss: str = "cosent",
    num_train_epochs: float = 3,
    per_device_train_batch_size: int = 32,
    learning_rate: float = 2e-5,
    warmup_steps: float = 0.1,
    max_length: int = 128,
    seed: int = 0,
    prompt: str | None = None,
    bf16: bool | None = None,
    warm_start_pairs: int = 8000,
) -> Path:
    """Fine-tune a small model on `text1`, `text2`, `label` and save it atomically to `output_dir`.

    `loss` of a bi-encoder is a key of LOSSES or `package.module:class`; a loss without labels (POSITIVES_ONLY) trains on
    positives only, with the other texts of the batch as negatives. A cross-encoder uses binary cross-entropy; an encoder
    without a scoring head gets a random one (from `seed`) and is first trained on `warm_start_pairs` pairs with its own
    bi-encoder probabilities as labels (`graded_pairs`), at WARM_START_RATE times the learning rate. `warmup_steps` below 1
    is a share of all steps. `max_length` is in tokens of one text, of both texts for a cross-encoder. `prompt` (None: the
    model's own) is put before each text, for a cross-encoder before the first, and is saved with the model. `bf16` None:
    mixed precision if the hardware supports it. The file `finetune.json` in the folder has the settings and the validation
    metrics after and, unless the head is new, before. Raises DataError (columns, labels), ConfigError (kind, loss),
    NumbersError (loss not finite) and the errors of `load_teacher` and `new_folder`.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of teacher to fine-tune: {kind!r}; {nearest(kind, KINDS)}")
    settings = {
        "kind": kind,
        "base": str(name_or_path),
        "loss": loss if kind == "bi_encoder" else "binary_cross_entropy",
        "num_train_epochs": num_train_epochs,
        "per_device_train_batch_size": per_device_train_batch_size,
        "learning_rate": learning_rate,
        "warmup_steps": warmup_steps,
        "max_length": max_length,
        "seed": seed,
        "prompt": prompt,
        "bf16": has_fast_bfloat16() if bf16 is None else bf16,
        "warm_start_pairs": warm_start_pairs if kind == "cross_encoder" else 0,
    }
    return _finetune(settings, dataset, validation, Path(output_dir))


@own_random_state()
def _finetune(settings: dict[str, Any], dataset: Dataset, validation: Dataset | None, output_dir: Path) -> Path:
    """Load, measure, train, save, and measure the saved model."""
    pairs = _pairs(dataset, "training")
    checked = None if validation is None else _pairs(validation, "validation")
    set_seed(settings["seed"])  # before loading, which creates the random head of a cross-encoder
    with new_folder(output_dir) as folder:
        model = _load(settings)
        new_head = settings["kind"] == "cross_encoder" and not has_scoring_head(model)
        before = None if new_head else _metrics(model, checked)
        if settings["warm_start_pairs"] and new_head:
            _warm_start(model, pairs, settings)
        else:
            settings["warm_start_pairs"] = 0
        train_loss = _train(model, pairs, settings)
        # A model card would quote users' texts and request the base model from the hub.
        model.save_pretrained(str(folder), create_model_card=False)
        used = {"prompt": default_prompt(model), "max_length": model.max_seq_length, "pairs": len(pairs)}
        # The trained model keeps mixed precision in its forward, so its outputs differ from those of the saved model.
        after = None if checked is None else _metrics(_load({**settings, "base": folder, "prompt": None}), checked)
        write_json(
            folder / "finetune.json", {**settings, **used, "train_loss": train_loss, "before": before, "after": after}
        )
    return output_dir


def _warm_start(model: Any, pairs: Dataset, settings: dict[str, Any]) -> None:
    teacher = BiEncoderTeacher(_load({**settings, "kind": "bi_encoder"}), name="")
    graded = graded_pairs(teacher, pairs, count=settings["warm_start_pairs"], seed=settings["seed"])
    rate = WARM_START_RATE * settings["learning_rate"]
    _train(model, graded, {**settings, "num_train_epochs": 1, "learning_rate": rate})


def _train(model: Any, pairs: Dataset, settings: dict[str, Any]) -> float:
    """Train `model` in place and return the mean loss of all steps."""
    with tempfile.TemporaryDirectory() as scratch:  # the trainer needs a folder; nothing is kept in it
        trainer = _trainer(model, pairs, settings, scratch)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_Progress())
        train_loss = float(trainer.train().training_loss)
    if not np.isfinite(train_loss):
        raise NumbersError(
            f"the loss became {train_loss}; use a lower learning_rate (now {settings['learning_rate']:g})"
        )
    return train_loss


def _load(settings: dict[str, Any]) -> Any:
    model: Any
    if settings["kind"] == "cross_encoder":
        model = load_model(CrossEncoder, settings["base"], max_length=settings["max_length"], num_labels=1)
    else:
        model = load_model(SentenceTransformer, settings["base"], max_length=settings["max_length"])
    if settings["prompt"] is not None:
        model.prompts["default"] = settings["prompt"]
        model.default_prompt_name = "default"
    return model


def _metrics(model: Any, pairs: Dataset | None) -> dict[str, float] | None:
    if pairs is None:
        return None
    left, right = sides_of(pairs)
    wrapper = CrossEncoderTeacher if isinstance(model, CrossEncoder) else BiEncoderTeacher
    scores = pair_scores(wrapper(model, name=""), left, right)
    return measure(scores, np.array(pairs["label"][:], dtype=np.int64))


def _trainer(model: Any, pairs: Dataset, settings: dict[str, Any], scratch: str) -> Any:
    names = ("num_train_epochs", "per_device_train_batch_size", "learning_rate", "warmup_steps", "seed", "bf16")
    arguments: dict[str, Any] = {
        **{name: settings[name] for name in names},
        "output_dir": scratch,
        "batch_sampler": LengthGroupedBatches,
        "use_cpu": not torch.accelerator.is_available(),  # bf16 is rejected without it
        "prompts": default_prompt(model) or None,  # the trainer ignores the model's default prompt
        "save_strategy": "no",
        "logging_strategy": "no",
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.accelerator.is_available(),
    }
    if settings["kind"] == "cross_encoder":
        return _CrossTrainer(
            model=model,
            args=CrossEncoderTrainingArguments(**arguments),
            train_dataset=pairs,
            loss=BinaryCrossEntropyLoss(model),
        )
    loss_class = pick(LOSSES, settings["loss"], what="loss")
    if POSITIVES_ONLY & {base.__name__ for base in getattr(loss_class, "__mro__", ())}:
        pairs = pairs.select([row for row, label in enumerate(pairs["label"][:]) if label]).remove_columns("label")
        arguments["batch_sampler"] = BatchSamplers.NO_DUPLICATES
    return _BiEncoderTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**arguments),
        train_dataset=pairs,
        loss=loss_class(model),
    )


def _pairs(dataset: Dataset, what: str) -> Dataset:
    """Return the columns text1, text2 and label (as float). Raises DataError for missing columns or other labels."""
    missing = {"text1", "text2", "label"} - set(dataset.column_names)
    if missing:
        raise DataError(f"the {what} pairs have no column {sorted(missing)}; their columns are {dataset.column_names}")
    labels = dataset["label"][:]
    invalid = [row for row, label in enumerate(labels) if label not in (0, 1)]
    if invalid:
        raise DataError(
            f"{what} row {invalid[0]} has the label {labels[invalid[0]]!r} ({len(invalid)} such rows): must be 0 or 1"
        )
    if len(set(labels)) < 2:
        raise DataError(
            f"the {len(labels)} {what} pairs have only the labels {sorted(set(labels))}: both 0 and 1 are needed"
        )
    columns = {"text1": dataset["text1"][:], "text2": dataset["text2"][:]}
    return Dataset.from_dict({**columns, "label": [float(label) for label in labels]})


class _Progress(TrainerCallback):  # type: ignore[misc]
    """Callback with a progress bar of the training steps on stderr."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self.bar = progress.bar(state.max_steps, "fine-tuning", unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self.bar.close()


class _BiEncoderTrainer(SentenceTransformerTrainer):  # type: ignore[misc]
    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Do nothing: no model card is written."""


class _CrossTrainer(CrossEncoderTrainer):  # type: ignore[misc]
    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Do nothing: no model card is written."""
