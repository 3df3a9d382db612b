"""Settings of `flipkd teach`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flipkd.setting_fields import DATA, MODEL, TRAINING, Columns, Directed, Seed
from flipkd.settings import Settings

MAX_MEMBERS = 100  # models in an ensemble


class TeachConfig(Settings):
    """Settings of `flipkd teach`: the teacher model and its fine-tuning on the training pairs."""

    train_file: str = DATA(description="training pairs: csv, tsv, jsonl, parquet or a hub id")
    validation_file: str | None = DATA(None, description="pairs on which the teacher is evaluated")
    columns: Columns = DATA(None)
    directed: Directed = DATA(False)
    output_dir: str = DATA("teacher", description="output folder for the teacher and the cache of its outputs")
    teacher_name_or_path: str = MODEL(
        "all-MiniLM-L6-v2", description="sentence-transformers model: packaged name, hub id or folder"
    )
    teacher_type: Literal["bi_encoder", "cross_encoder", "scores"] = MODEL(
        "bi_encoder", description="type of the teacher; scores: the `score` column of the files"
    )
    fine_tune: bool | Literal["auto"] = MODEL(
        "auto",
        description="fine-tuning on the training pairs; auto: keep the pretrained model if it is better on validation",
    )
    members: int = MODEL(
        1,
        ge=1,
        le=MAX_MEMBERS,
        description="ensemble size: models fine-tuned with different seeds, whose outputs are averaged",
    )
    folds: Literal[0] | Annotated[int, Field(ge=2)] = MODEL(
        0,
        description="cross-fitting folds: each training pair is scored by a model fine-tuned without its fold; 0: off",
    )
    loss: str = TRAINING("cosent", description="sentence-transformers loss for a bi-encoder")
    num_train_epochs: float = TRAINING(3, gt=0, description="epochs over the training pairs")
    per_device_train_batch_size: int = TRAINING(32, ge=2, description="training batch size in pairs")
    learning_rate: float = TRAINING(2e-5, gt=0, description="peak learning rate")
    warmup_steps: float = TRAINING(0.1, ge=0, description="steps, or a share of all steps below 1")
    max_length: int = MODEL(128, ge=8, description="maximum tokens of a text for the teacher")
    prompt: str | None = MODEL(
        None, description="prompt before each text (before the first for a cross-encoder); default: the model's own"
    )
    bf16: bool | None = TRAINING(
        None, description="mixed-precision (bfloat16) fine-tuning; default: when the device supports it"
    )
    warm_start_pairs: int = TRAINING(
        8000, ge=0, description="pairs for the warm start of a new cross-encoder on the scores of its bi-encoder"
    )
    seed: Seed = TRAINING(0)
