"""One model of settings per stage: YAML and --set become checked values here, and nowhere else.

Names are those of transformers' TrainingArguments, peft and TRL where they have one. An unknown key is an error that
names the nearest spelling. Precedence: defaults, then the YAML file, then the command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flipkd.errors import ConfigError, nearest, shorten


class Settings(BaseModel):
    """Settings of one stage; `build` is the door."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), frozen=True, allow_inf_nan=False)

    @classmethod
    def build(
        cls, config: Path | None = None, assignments: Sequence[str] = (), given: Mapping[str, Any] | None = None
    ) -> Self:
        """Settings from a YAML file, `key=value` words and options that were given (None means not given).

        Raises ConfigError naming the key, the value and what is allowed.
        """
        values = _read_yaml(config) if config else {}
        values |= {key: value for key, value in (given or {}).items() if value is not None}
        return cls.check(cls.changed(values, assignments))

    @classmethod
    def changed(cls, values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
        """Plain values with `key=value` words applied, as `--set` does. Raises ConfigError for a word that is none."""
        values = dict(values)
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise ConfigError(f"--set {shorten(assignment)} has no '='; write --set key=value")
            cls._assign(values, key.strip().split("."), _read_value(text, key))
        return values

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> Self:
        """Settings from plain values. Raises ConfigError instead of pydantic's own error."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(cls._explain(error.errors(), values)) from None

    @classmethod
    def _assign(cls, values: dict[str, Any], path: list[str], value: Any) -> None:
        """Set a dotted key; a mapping that the file left out starts from its default, so one part can be changed."""
        for depth, part in enumerate(path[:-1]):
            if part not in values:
                field = cls.model_fields.get(part) if depth == 0 else None
                values[part] = field.get_default(call_default_factory=True) if field is not None else {}
            if not isinstance(values[part], dict):
                # `objectives.margin_hinge` is a weight until one of its knobs is set
                values[part] = {"weight": values[part]} if isinstance(values[part], int | float) else {}
            values[part] = dict(values[part])
            values = values[part]
        values[path[-1]] = value

    @classmethod
    def _explain(cls, problems: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> str:
        # An unknown key first: `train_fil` is why train_file is missing.
        problems = sorted(problems, key=lambda problem: problem["type"] != "extra_forbidden")
        kind, where = problems[0]["type"], str(problems[0]["loc"][0])
        if kind == "extra_forbidden":
            stage = cls._stage_of(where)
            meant = f"it is a setting of flipkd {stage}: --set {stage}.{where}=..." if stage else ""
            return f"no setting is called {where!r}; {meant or nearest(where, list(cls.model_fields))}"
        if kind == "missing":
            return f"{where} is missing; give it as an option, in the YAML file or by --set {where}=..."
        # A place is followed as far as the values go: for `float | dict` pydantic adds the name of each branch.
        depth, value = 0, values
        for part in problems[0]["loc"]:
            inside = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
            if not inside:
                break
            depth, value = depth + 1, value[part]
        path = problems[0]["loc"][:depth]
        allowed = dict.fromkeys(problem["msg"] for problem in problems if problem["loc"][:depth] == path)
        example = f"; write {where}=[a, b]" if kind == "list_type" else ""
        return f"{'.'.join(map(str, path))} is {shorten(value)}: {', or '.join(allowed)}{example}"

    @classmethod
    def _stage_of(cls, name: str) -> str | None:
        """The stage inside this one that has a setting of that name."""
        return None


class _Loader(yaml.SafeLoader):
    """YAML without two traps of its version 1.1: `no` and `yes` as keys are words, and `1e-8` is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:bool":
                key.tag = "tag:yaml.org,2002:str"
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.?[0-9]*)[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("+-.0123456789"))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path}: must hold `key: value` lines")
    return values


def _read_value(text: str, key: str) -> Any:
    try:
        return _Loader(text).get_single_data()
    except (ValueError, RecursionError, yaml.YAMLError):
        raise ConfigError(f"--set {key}: {shorten(text)} is not a YAML value; quote it") from None


class TeachConfig(Settings):
    """Settings of `flipkd teach`: which small model, and how it is fine-tuned on the training pairs."""

    train_file: str = Field(description="training pairs: csv, tsv, jsonl, parquet or a hub id")
    validation_file: str | None = Field(None, description="pairs on which the teacher is measured")
    columns: dict[str, str] | None = Field(None, description="our column name -> the file's, e.g. text1: title")
    output_dir: str = Field("teacher", description="folder for the teacher and its stored values")
    teacher_name_or_path: str = Field(
        "all-MiniLM-L6-v2", description="sentence-transformers model: name, hub id, folder"
    )
    teacher_type: Literal["bi_encoder", "cross_encoder", "scores"] = Field(
        "bi_encoder", description="a bi-encoder, a cross-encoder, or the `score` column of the files"
    )
    fine_tune: bool = Field(True, description="fine-tune on the training pairs before storing values")
    loss: str = Field("cosent", description="loss of sentence-transformers for a bi-encoder")
    num_train_epochs: float = Field(3, gt=0, description="passes over the training pairs")
    per_device_train_batch_size: int = Field(32, ge=2, description="pairs per step")
    learning_rate: float = Field(2e-5, gt=0, description="peak learning rate")
    warmup_steps: float = Field(0.1, ge=0, description="steps, or a share of all steps below 1")
    max_length: int = Field(128, ge=8, description="tokens of a text that the teacher reads")
    prompt: str | None = Field(
        None, description="words before each text (a cross-encoder's first); default: the model's own"
    )
    bf16: bool | None = Field(None, description="fine-tune in mixed precision; default: where the machine has it")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of everything random")


MINED_BY_DEFAULT = 1.0  # per training pair, where the teacher gives vectors


class TrainConfig(Settings):
    """Settings of `flipkd train`: the student, what it reads, what it learns from, and transformers' own arguments."""

    train_file: str = Field(description="training pairs: csv, tsv, jsonl, parquet or a hub id")
    validation_file: str = Field(description="pairs for pre-flight, calibration and threshold")
    columns: dict[str, str] | None = Field(None, description="our column name -> the file's, e.g. text1: title")
    teacher: str | None = Field(
        None, description="folder that `flipkd teach` made; needed unless all teacher weights are 0"
    )
    output_dir: str = Field("run", description="folder for checkpoints, metrics and the finished matcher")
    model_name_or_path: str = Field("gemma-3-270m", description="causal LM: packaged name, hub id or folder")
    dtype: Literal["bfloat16", "float32", "float16"] = Field(
        "bfloat16", description="of the base model; adapters are float32"
    )
    attn_implementation: str = Field("auto", description="attention of transformers; auto: the fastest for the device")
    torch_compile: bool = Field(
        False, description="compile the layers: faster steps after a minute or more; needs a C++ compiler on a CPU"
    )
    template: dict[str, str] = Field({}, description="fields that differ: instruction, left, right, question, no, yes")
    max_text_length: int = Field(128, ge=1, description="tokens kept of each text")
    reading: Literal["joint", "separate", "blocked"] = Field("joint", description="how the texts' vectors are read")
    lora_r: int = Field(16, ge=1, description="rank of the adapters")
    lora_alpha: int = Field(32, gt=0, description="scale of the adapters is lora_alpha / lora_r everywhere")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="dropout before A")
    lora_target_modules: Literal["all-linear"] | list[str] = Field("all-linear", description="modules that get LoRA")
    lora_layers: list[int] | None = Field(None, description="layers that get LoRA; default all")
    readout_r: int = Field(128, ge=1, description="rank at the places that are read")
    readout_layers: list[int] = Field([-1], min_length=1, description="layers whose A is read")
    readout_modules: list[str] = Field(["q_proj"], min_length=1, description="modules whose A is read")
    objectives: dict[str, float | dict[str, Any]] = Field(
        {"answer_cross_entropy": 1.0, "bernoulli_kd": 1.0, "margin_hinge": 1.0, "in_batch_kl": 1.0},
        description="objective -> weight, or {weight, its knobs}; weight 0 skips the work",
    )
    filter_quantile: float | None = Field(
        0.2, ge=0, lt=0.5, description="dual threshold at this quantile of the teacher's scores; null: no filter"
    )
    score: Literal["auto", "answer", "cosine"] = Field(
        "auto", description="what decides; auto: whichever of answer, cosine or both is best on validation"
    )
    queue_size: int = Field(
        0, ge=0, description="right-hand texts of earlier steps that each text is compared with as well"
    )
    mined_ratio: float | None = Field(
        None,
        ge=0,
        description="unlabelled pairs per training pair, mined from its texts and graded by the teacher; "
        "default: 1 with a bi-encoder teacher",
    )
    num_train_epochs: float = Field(2, gt=0, description="passes over the training pairs")
    per_device_train_batch_size: int = Field(16, ge=1, description="pairs per step")
    per_device_eval_batch_size: int = Field(32, ge=1, description="pairs per pass when scoring")
    gradient_accumulation_steps: int = Field(1, ge=1, description="steps per update; adds no in-batch comparisons")
    learning_rate: float = Field(5e-4, gt=0, description="peak learning rate")
    readout_learning_rate: float | None = Field(
        3e-3, gt=0, description="peak learning rate of A where it is read; null: learning_rate"
    )
    lr_scheduler_type: str = Field("linear", description="scheduler of transformers")
    warmup_steps: float = Field(0.06, ge=0, description="steps, or a share of all steps below 1")
    weight_decay: float = Field(0.0, ge=0, description="weight decay of AdamW")
    max_grad_norm: float = Field(1.0, ge=0, description="gradient clipping; 0: none")
    logging_steps: int = Field(10, ge=1, description="steps between two lines of metrics.jsonl")
    save_steps: int = Field(100, ge=1, description="steps between two checkpoints")
    save_total_limit: int = Field(2, ge=2, description="checkpoints kept")
    report_to: str | list[str] = Field("none", description="trackers of transformers, e.g. tensorboard")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of everything random")
    training_arguments: dict[str, Any] = Field({}, description="any other field of transformers' TrainingArguments")


NAME = r"^[\w.-]+$"  # what may be part of a file's name


class CompareConfig(Settings):
    """Settings of a comparison: the same pairs, several systems, several seeds."""

    train_file: str = Field(description="training pairs")
    validation_file: str = Field(description="pairs for thresholds and calibration")
    test_file: str = Field(description="pairs that are read once")
    columns: dict[str, str] | None = Field(None, description="our column name -> the file's")
    output_dir: str = Field("comparison", description="folder for results, teachers and runs")
    data: str = Field("pairs", pattern=NAME, description="name of the data in the results")
    systems: list[str] = Field(
        ["teacher_finetuned", "untrained", "plain", "flipped"],
        min_length=1,
        description="what is compared: systems and variants",
    )
    variants: dict[str, list[str]] = Field(
        {},
        description="name -> words as for --set that differ from the flipped system: key=value, teach.key=value, "
        "system=plain",
    )
    seeds: list[int] = Field([0], min_length=1, description="one run of each system per seed")
    teach: dict[str, Any] = Field({}, description="settings of `flipkd teach` that differ")
    train: dict[str, Any] = Field({}, description="settings of `flipkd train` that differ")

    @classmethod
    def _assign(cls, values: dict[str, Any], path: list[str], value: Any) -> None:
        """As for any stage; below `teach` and `train` a mapping starts from that stage's default."""
        stages: dict[str, type[Settings]] = {"teach": TeachConfig, "train": TrainConfig}
        stage = stages.get(path[0])
        if stage is None or len(path) == 1 or not isinstance(values.get(path[0], {}), dict):
            super()._assign(values, path, value)
            return
        values[path[0]] = dict(values.get(path[0], {}))
        stage._assign(values[path[0]], path[1:], value)

    @classmethod
    def _stage_of(cls, name: str) -> str | None:
        return next(
            (s for s, model in (("train", TrainConfig), ("teach", TeachConfig)) if name in model.model_fields), None
        )
