"""One model of settings per stage, with defaults and what each is for; `settings.py` says how they are read.

Names are those of transformers' TrainingArguments, peft and TRL where they have one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from flipkd.settings import Settings

MOST_MEMBERS = 100  # of an ensemble


def _field_of(panel: str) -> Callable[..., Any]:
    """Return pydantic's Field, with the part of `--help` in which the setting is listed."""
    return partial(Field, json_schema_extra={"panel": panel})


DATA, MODEL, LORA = _field_of("Data"), _field_of("Model"), _field_of("LoRA")
OBJECTIVES, TRAINING, SYSTEMS = _field_of("Objectives"), _field_of("Training"), _field_of("Systems")
Columns = Annotated[
    dict[str, str] | None, Field(description="names of the file's columns, as text1=title; the known ones are found")
]
Directed = Annotated[bool, Field(description="the order of a pair's texts matters: (a, b) may match and (b, a) not")]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="seed of everything random")]


class TeachConfig(Settings):
    """Settings of `flipkd teach`: which small model, and how it is fine-tuned on the training pairs."""

    train_file: str = DATA(description="training pairs: csv, tsv, jsonl, parquet or a hub id")
    validation_file: str | None = DATA(None, description="pairs on which the teacher is measured")
    columns: Columns = DATA(None)
    directed: Directed = DATA(False)
    output_dir: str = DATA("teacher", description="folder for the teacher and its stored values")
    teacher_name_or_path: str = MODEL(
        "all-MiniLM-L6-v2", description="sentence-transformers model: name, hub id, folder"
    )
    teacher_type: Literal["bi_encoder", "cross_encoder", "scores"] = MODEL(
        "bi_encoder", description="a bi-encoder, a cross-encoder, or the `score` column of the files"
    )
    fine_tune: bool | Literal["auto"] = MODEL(
        True,
        description="fine-tune on the training pairs before storing values; auto: keep what validation finds better",
    )
    members: int = MODEL(1, ge=1, le=MOST_MEMBERS, description="fine-tunings with seeds of their own, averaged")
    folds: Literal[0] | Annotated[int, Field(ge=2)] = MODEL(
        0, description="score each training pair by a model fine-tuned without its fold; 0: by the teacher itself"
    )
    loss: str = TRAINING("cosent", description="loss of sentence-transformers for a bi-encoder")
    num_train_epochs: float = TRAINING(3, gt=0, description="passes over the training pairs")
    per_device_train_batch_size: int = TRAINING(32, ge=2, description="pairs per step")
    learning_rate: float = TRAINING(2e-5, gt=0, description="peak learning rate")
    warmup_steps: float = TRAINING(0.1, ge=0, description="steps, or a share of all steps below 1")
    max_length: int = MODEL(128, ge=8, description="tokens of a text that the teacher reads")
    prompt: str | None = MODEL(
        None, description="words before each text (a cross-encoder's first); default: the model's own"
    )
    bf16: bool | None = TRAINING(None, description="fine-tune in mixed precision; default: where the machine has it")
    warm_start_pairs: int = TRAINING(
        8000, ge=0, description="pairs on which a new cross-encoder first learns the scores of its bi-encoder"
    )
    seed: Seed = TRAINING(0)


READOUT_LAYERS, READOUT_MODULES = (-1,), ("v_proj",)  # where A is read: a place from which it reaches the answer
MINED_BY_DEFAULT = 1.0  # per training pair, where the teacher gives vectors


class TrainConfig(Settings):
    """Settings of `flipkd train`: the student, what it reads, what it learns from, and transformers' own arguments."""

    train_file: str = DATA(description="training pairs: csv, tsv, jsonl, parquet or a hub id")
    validation_file: str = DATA(description="pairs for pre-flight, calibration and threshold")
    columns: Columns = DATA(None)
    directed: Directed = DATA(False)
    teacher: str | None = MODEL(
        None, description="folder that `flipkd teach` made; needed unless all teacher weights are 0"
    )
    output_dir: str = DATA("run", description="folder for checkpoints, metrics and the finished matcher")
    model_name_or_path: str = MODEL("gemma-3-270m", description="causal LM: packaged name, hub id or folder")
    init_from: str | None = MODEL(
        None, description="matcher or run folder whose adapters the training starts from; default: fresh ones"
    )
    dtype: Literal["bfloat16", "float32", "float16"] = MODEL(
        "bfloat16", description="of the base model; adapters are float32"
    )
    load_in_4bit: bool = MODEL(
        False,
        description="hold the base's linear layers in 4 bits (NF4): a quarter of their memory; needs flipkd[bnb]",
    )
    attn_implementation: str = MODEL("auto", description="attention of transformers; auto: the fastest for the device")
    torch_compile: bool = MODEL(
        False, description="compile the layers: faster steps after a minute or more; needs a C++ compiler on a CPU"
    )
    activation_checkpointing: bool = MODEL(
        False,
        description="keep no layer's insides for the way back but compute them again: less memory, slower steps",
    )
    template: dict[str, str] = MODEL({}, description="fields that differ: instruction, left, right, question, no, yes")
    max_text_length: int = MODEL(128, ge=1, description="tokens kept of each text")
    reading: Literal["joint", "separate", "blocked"] = MODEL("joint", description="how the texts' vectors are read")
    lora_r: int = LORA(16, ge=1, description="rank of the adapters")
    lora_alpha: int = LORA(32, gt=0, description="scale of the adapters is lora_alpha / lora_r everywhere")
    lora_dropout: float = LORA(0.0, ge=0, lt=1, description="dropout before A")
    lora_target_modules: Literal["all-linear"] | list[str] = LORA("all-linear", description="modules that get LoRA")
    lora_layers: list[int] | None = LORA(None, description="layers that get LoRA; default all")
    readout_r: int = LORA(128, ge=1, description="rank at the places that are read")
    readout_layers: list[int] = LORA(list(READOUT_LAYERS), min_length=1, description="layers whose A is read")
    readout_modules: list[str] = LORA(list(READOUT_MODULES), min_length=1, description="modules whose A is read")
    allow_readout_off_path: bool = LORA(
        False, description="read also where A x cannot change the answer; else such a place is refused"
    )
    objectives: dict[str, float | dict[str, Any]] = OBJECTIVES(
        {"answer_cross_entropy": 1.0, "bernoulli_kd": 1.0, "margin_hinge": 1.0, "in_batch_kl": 1.0},
        description="objective -> weight, or {weight, its arguments}; weight 0 skips the work",
    )
    filter_quantile: float | None = OBJECTIVES(
        0.2, ge=0, lt=0.5, description="dual threshold at this quantile of the teacher's scores; null: no filter"
    )
    filter_band: float = OBJECTIVES(
        0.0,
        ge=0,
        le=0.5,
        description="least share of the labelled pairs between both thresholds, which move apart for it",
    )
    off_diagonal_quantiles: list[float] | None = OBJECTIVES(
        None,
        min_length=2,
        max_length=2,
        description="thresholds off the diagonal (negatives up to, positives from): quantiles of the teacher's scores of "
        "random pairs of texts; null: those of the pairs",
    )
    score: Literal["auto", "answer", "cosine"] = OBJECTIVES(
        "auto", description="the student's part of what decides; auto: answer, cosine or both, by validation"
    )
    keep_teacher: Literal["auto"] | bool = OBJECTIVES(
        "auto",
        description="the matcher keeps its teacher, whose score is part of the sum; auto: where that is better on validation",
    )
    queue_size: int = OBJECTIVES(
        0, ge=0, description="right-hand texts of earlier steps that each text is compared with as well"
    )
    mined_ratio: float | None = DATA(
        None,
        ge=0,
        description="unlabelled pairs per training pair, mined from its texts and graded by the teacher; "
        "default: 1 with a bi-encoder teacher",
    )
    mining: Literal["nearest", "stratified"] = DATA(
        "nearest",
        description="which pairs are mined: those that the teacher finds closest, or as many of each tenth of its probability",
    )
    unlabelled_file: str | None = DATA(
        None, description="pairs without labels, or texts alone (one column text), that the teacher grades"
    )
    unlabelled_ratio: float | None = DATA(
        None,
        ge=0,
        description="at most so many of them per labelled training pair; default: all pairs, or one pair per text",
    )
    swap_texts: bool = DATA(
        False,
        description="read each training pair in both orders in turn, epoch by epoch; for pairs without a direction",
    )
    augment_texts: float = DATA(
        0, ge=0, le=1, description="share of the pairs that get an injected text, other case or look-alike letters"
    )
    num_train_epochs: float = TRAINING(2, gt=0, description="passes over the training pairs")
    per_device_train_batch_size: int = TRAINING(16, ge=1, description="pairs per step")
    per_device_eval_batch_size: int | None = TRAINING(
        None, ge=1, description="pairs per pass when scoring; default: 32 on a CPU, what fits on a GPU"
    )
    gradient_accumulation_steps: int = TRAINING(1, ge=1, description="steps per update; adds no in-batch comparisons")
    learning_rate: float = TRAINING(5e-4, gt=0, description="peak learning rate")
    readout_learning_rate: float | None = TRAINING(
        1e-3, gt=0, description="peak learning rate of A where it is read; null: learning_rate"
    )
    lr_scheduler_type: str = TRAINING("linear", description="scheduler of transformers")
    warmup_steps: float = TRAINING(0.06, ge=0, description="steps, or a share of all steps below 1")
    weight_decay: float = TRAINING(0.0, ge=0, description="weight decay of AdamW")
    max_grad_norm: float = TRAINING(1.0, ge=0, description="gradient clipping; 0: none")
    logging_steps: int = TRAINING(10, ge=1, description="steps between two lines of metrics.jsonl")
    log_gradient_norms: bool = TRAINING(
        False,
        description="each objective's gradient norm in those lines: a further pass backward each; not with CUDA graphs",
    )
    save_steps: int = TRAINING(100, ge=1, description="steps between two checkpoints")
    save_total_limit: int = TRAINING(2, ge=2, description="checkpoints kept")
    resume_elsewhere: bool = TRAINING(
        False, description="go on with a run though threads, device or machine are others; not bit for bit"
    )
    report_to: str | list[str] = TRAINING("none", description="trackers of transformers, e.g. tensorboard")
    seed: Seed = TRAINING(0)
    training_arguments: dict[str, Any] = TRAINING({}, description="any other field of transformers' TrainingArguments")

    @field_validator("swap_texts")
    @classmethod
    def _only_without_direction(cls, swap_texts: bool, info: ValidationInfo) -> bool:
        if swap_texts and info.data.get("directed"):
            raise PydanticCustomError(
                "directed", "the order of directed pairs means something; set it or directed to false"
            )
        return swap_texts


NAME = r"^[\w.-]+$"  # what may be part of a file's name


class CompareConfig(Settings):
    """Settings of a comparison: the same pairs, several systems, several seeds."""

    inside: ClassVar = {"train": TrainConfig, "teach": TeachConfig}

    train_file: str = DATA(description="training pairs")
    validation_file: str = DATA(description="pairs for thresholds and calibration")
    test_file: str = DATA(description="pairs that are read once")
    columns: Columns = DATA(None)
    directed: Directed = DATA(False)
    output_dir: str = DATA("comparison", description="folder for results, teachers and runs")
    data: str = DATA("pairs", pattern=NAME, description="name of the data in the results")
    systems: list[str] = SYSTEMS(
        ["always_match", "teacher_finetuned", "untrained", "plain", "flipped", "plain+teacher_finetuned"],
        min_length=1,
        description="what is compared: systems, variants, and blends of their scores, e.g. plain+teacher_finetuned",
    )
    variants: dict[str, list[str]] = SYSTEMS(
        {},
        description="name -> settings that differ from the flipped system: key=value, teach.key=value, system=plain",
    )
    seeds: list[int] = SYSTEMS([0], min_length=1, description="one run of each system per seed")
    symmetric: bool = SYSTEMS(
        False, description="score both orders of each pair by every student and show the means too; twice the time"
    )
    teach: dict[str, Any] = SYSTEMS({}, description="settings of `flipkd teach` that differ, as --teach.max_length 64")
    train: dict[str, Any] = SYSTEMS({}, description="settings of `flipkd train` that differ, as --train.lora_r 64")
