"""Settings of `flipkd compare` and `flipkd demo`."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from flipkd.config.teach import TeachConfig
from flipkd.config.train import TrainConfig
from flipkd.setting_fields import DATA, SYSTEMS, Columns, Directed, Seed
from flipkd.settings import Settings

NAME = r"^[\w.-]+$"  # allowed as a part of a file name


class CompareConfig(Settings):
    """Settings of `flipkd compare`: several systems and seeds on the same pairs."""

    nested: ClassVar = {"train": TrainConfig, "teach": TeachConfig}

    train_file: str = DATA(description="training pairs")
    validation_file: str = DATA(description="pairs for thresholds and calibration")
    test_file: str = DATA(description="test pairs")
    columns: Columns = DATA(None)
    directed: Directed = DATA(False)
    output_dir: str = DATA("comparison", description="output folder for results, teachers and runs")
    data: str = DATA("pairs", pattern=NAME, description="name of the data set in the results")
    systems: list[str] = SYSTEMS(
        ["always_match", "teacher_finetuned", "untrained", "plain", "flipped", "plain+teacher_finetuned"],
        min_length=1,
        description="systems to compare: names, variants, and blends of their scores, e.g. plain+teacher_finetuned",
    )
    variants: dict[str, list[str]] = SYSTEMS(
        {},
        description="variants by name, as settings that differ from the flipped system: key=value, teach.key=value, system=plain",
    )
    seeds: list[int] = SYSTEMS([0], min_length=1, description="seeds; each system runs once per seed")
    symmetric: bool = SYSTEMS(
        False,
        description="score both orders of each pair with every student and report the means too; doubles the time",
    )
    teach: dict[str, Any] = SYSTEMS({}, description="changed settings of `flipkd teach`, as --teach.max_length 64")
    train: dict[str, Any] = SYSTEMS({}, description="changed settings of `flipkd train`, as --train.lora_r 64")


class DemoConfig(Settings):
    """Settings of `flipkd demo`."""

    output_dir: str = Field("demo", description="output folder for data, runs and results")
    seed: Seed = 0
