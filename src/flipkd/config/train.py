"""Settings of `flipkd train`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import ValidationInfo, field_validator

from flipkd.config.student import StudentConfig
from flipkd.setting_fields import DATA, MODEL, OBJECTIVES, TRAINING, Columns, Directed, Seed

PREVIOUS_STAGE = "previous_stage"  # as a teacher in `stages`: the matcher of the previous stage
BOTH_ORDERS = "order_consistency"  # the objective for which a batch holds both orders of a pair
DEFAULT_MINED_RATIO = 1.0  # per training pair, with a bi-encoder teacher
# Fields of transformers' TrainingArguments that its users write as settings; a check of all would import torch.
TRAINER_NAMES = {
    "max_steps",
    "optim",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "lr_scheduler_kwargs",
    "logging_first_step",
    "run_name",
    "save_strategy",
    "logging_strategy",
    "dataloader_num_workers",
    "tf32",
    "optim_args",
    "disable_tqdm",
}


class TrainConfig(StudentConfig):
    """Settings of `flipkd train`: the student, its data, objectives and transformers' training arguments."""

    left_out_at_default: ClassVar = frozenset(
        ("stages", "early_stopping_patience", "other_teachers", "teacher_weights", "pair_weights")
        + ("glossary", "glossary_characters")
    )

    train_file: str = DATA(description="training pairs: csv, tsv, jsonl, parquet or a hub id")
    validation_file: str = DATA(description="pairs for the pre-flight check, calibration and threshold")
    columns: Columns = DATA(None)
    directed: Directed = DATA(False)
    teacher: str | None = MODEL(
        None,
        description="folder made by `flipkd teach`, or a finished matcher; required unless the weights of all teacher "
        "objectives are 0",
    )
    other_teachers: list[str] = MODEL(
        [], description="further teachers or matchers, whose probabilities are mixed with those of the teacher"
    )
    teacher_weights: Literal["mean", "router", "policy"] = MODEL(
        "mean",
        description="weights of several teachers: equal, or per pair by likelihood (router) or reward (policy) on validation",
    )
    output_dir: str = DATA("run", description="output folder for checkpoints, metrics and the matcher")
    init_from: str | None = MODEL(
        None, description="matcher or run folder with the initial adapters; default: new adapters"
    )
    activation_checkpointing: bool = MODEL(
        False,
        description="recomputation of layer activations in the backward pass: less memory, slower steps",
    )
    glossary: str | None = MODEL(
        None,
        description="file with the columns term and definition; definitions are added to the student's texts with the term",
    )
    glossary_characters: int = MODEL(300, ge=1, description="maximum length of the definitions of a text")
    objectives: dict[str, float | dict[str, Any]] = OBJECTIVES(
        {"answer_cross_entropy": 1.0, "pairwise_pref_kl": 1.0, "margin_hinge": 1.0, "in_batch_kl": 1.0},
        description="weight of each objective, or {weight, arguments}; weight 0 turns it off",
    )
    filter_quantile: float | None = OBJECTIVES(
        0.2, ge=0, lt=0.5, description="quantile of the teacher's scores for the dual threshold; null: no filter"
    )
    filter_band: float = OBJECTIVES(
        0.0,
        ge=0,
        le=0.5,
        description="minimum share of the labelled pairs between the two thresholds, which move apart to reach it",
    )
    off_diagonal_quantiles: list[float] | None = OBJECTIVES(
        None,
        min_length=2,
        max_length=2,
        description="off-diagonal thresholds (negatives up to, positives from) as quantiles of the teacher's scores of "
        "random text pairs; null: the thresholds of the pairs",
    )
    score: Literal["auto", "answer", "cosine"] = OBJECTIVES(
        "auto", description="score of the student that decides; auto: answer, cosine or both, chosen on validation"
    )
    keep_teacher: Literal["auto"] | bool = OBJECTIVES(
        "auto",
        description="keep the teacher in the matcher and add its score to the sum; auto: if that is better on validation",
    )
    pair_weights: Literal["equal", "trust"] = OBJECTIVES(
        "equal",
        description="weight of each pair in all objectives; trust: the teacher's probability of its label",
    )
    queue_size: int = OBJECTIVES(
        0, ge=0, description="number of right-hand texts of earlier steps that extend the in-batch comparisons"
    )
    mined_ratio: float | None = DATA(
        None,
        ge=0,
        description="mined pairs per training pair: unlabelled pairs of training texts, scored by the teacher; "
        "default: 1 with a bi-encoder teacher",
    )
    mining: Literal["nearest", "stratified"] = DATA(
        "nearest",
        description="mining strategy: nearest pairs by the teacher, or equally many from each tenth of its probability",
    )
    unlabelled_file: str | None = DATA(
        None, description="pool: unlabelled pairs, or texts alone (one column `text`), which the teacher scores"
    )
    unlabelled_ratio: float | None = DATA(
        None,
        ge=0,
        description="maximum pool pairs per labelled training pair; default: all pairs, or one pair per text",
    )
    swap_texts: bool = DATA(
        False,
        description="swap the texts of half of the pairs, the other half in the next epoch; not for directed pairs",
    )
    augment_texts: float = DATA(
        0, ge=0, le=1, description="share of augmented pairs: injected text, changed case or look-alike letters"
    )
    num_train_epochs: float = TRAINING(2, gt=0, description="epochs over the training pairs")
    per_device_train_batch_size: int = TRAINING(16, ge=1, description="training batch size in pairs")
    per_device_eval_batch_size: int | None = TRAINING(
        None, ge=1, description="scoring batch size in pairs; default: 32 on a CPU, as large as fits on a GPU"
    )
    gradient_accumulation_steps: int = TRAINING(
        1, ge=1, description="batches per update; does not add in-batch comparisons"
    )
    learning_rate: float = TRAINING(5e-4, gt=0, description="peak learning rate")
    readout_learning_rate: float | None = TRAINING(
        1e-3, gt=0, description="peak learning rate of the readout A matrices; null: learning_rate"
    )
    lr_scheduler_type: str = TRAINING("linear", description="learning rate scheduler of transformers")
    warmup_steps: float = TRAINING(0.06, ge=0, description="steps, or a share of all steps below 1")
    weight_decay: float = TRAINING(0.0, ge=0, description="weight decay of AdamW")
    max_grad_norm: float = TRAINING(1.0, ge=0, description="maximum gradient norm for clipping; 0: no clipping")
    average_weights: float = TRAINING(
        0,
        ge=0,
        le=1,
        description="share of the last steps whose weights are averaged for the matcher; 0: the last weights",
    )
    select_checkpoint: Literal["last", "best"] = TRAINING(
        "last", description="weights of the matcher: the last ones, or the checkpoint that is best on validation"
    )
    early_stopping_patience: int | None = TRAINING(
        None,
        ge=1,
        description="checkpoints in a row without a better average precision on validation after which training stops; needs "
        "select_checkpoint=best; default: never",
    )
    logging_steps: int = TRAINING(10, ge=1, description="steps between two log lines in metrics.jsonl")
    log_gradient_norms: bool = TRAINING(
        False,
        description="log the gradient norm of each objective: one more backward pass each; not with CUDA graphs",
    )
    save_steps: int = TRAINING(100, ge=1, description="steps between two checkpoints")
    save_total_limit: int = TRAINING(2, ge=2, description="maximum number of checkpoints")
    resume_elsewhere: bool = TRAINING(
        False, description="allow a resume with other threads, device or machine; results are then not bit-identical"
    )
    report_to: str | list[str] = TRAINING("none", description="experiment trackers of transformers, e.g. tensorboard")
    seed: Seed = TRAINING(0)
    stages: list[dict[str, Any]] = TRAINING(
        [],
        description="stages of one run, each with its changed settings; a stage starts from the adapters of the previous one. "
        f"teacher={PREVIOUS_STAGE}: the matcher of the previous stage",
    )
    training_arguments: dict[str, Any] = TRAINING({}, description="other fields of transformers' TrainingArguments")

    @classmethod
    def hint_for_nested(cls, name: str) -> str:
        """Return the option for a field of TrainingArguments; empty for another name."""
        return f"write --training_arguments.{name} VALUE" if name in TRAINER_NAMES else ""

    @field_validator("objectives")
    @classmethod
    def _check_orders(cls, objectives: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if info.data.get("directed") and _weight(objectives, BOTH_ORDERS):
            raise ValueError(
                f"{BOTH_ORDERS} is for pairs without a direction; set its weight to 0 or directed to false"
            )
        return objectives

    @field_validator("swap_texts")
    @classmethod
    def _check_direction(cls, swap_texts: bool, info: ValidationInfo) -> bool:
        if swap_texts and info.data.get("directed"):
            raise ValueError("directed pairs cannot be swapped; set swap_texts or directed to false")
        if swap_texts and _weight(info.data.get("objectives", {}), BOTH_ORDERS):
            raise ValueError(
                f"objectives.{BOTH_ORDERS} already reads each pair in both orders; set swap_texts to false"
            )
        return swap_texts

    @field_validator("early_stopping_patience")
    @classmethod
    def _check_early_stopping(cls, patience: int | None, info: ValidationInfo) -> int | None:
        if patience is not None and info.data.get("select_checkpoint") != "best":
            raise ValueError("the last checkpoint is then not the best; set select_checkpoint to best")
        if patience is not None and info.data.get("average_weights"):
            raise ValueError("average_weights averages the last of the planned steps; set one of the two")
        return patience


def _weight(objectives: dict[str, Any], name: str) -> Any:
    """Return the weight of an objective, 0 if it is not there; a text of a wrong type is refused later."""
    setting = objectives.get(name, 0)
    return setting.get("weight", 1) if isinstance(setting, dict) else setting
