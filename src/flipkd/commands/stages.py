"""Stages of a training run: each has changed settings and starts from the adapters of the stage before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flipkd.commands.pairs import trainable_sets, warn_of_leaks
from flipkd.commands.pool import require_pool_for_ratio, unlabelled_pool
from flipkd.config import StudentConfig, TrainConfig
from flipkd.config.train import PREVIOUS_STAGE
from flipkd.data.pool import Pool
from flipkd.errors import ArtefactError, ConfigError
from flipkd.objectives import OBJECTIVES
from flipkd.run_lock import RUN
from flipkd.tables import require_name

# Settings that a stage cannot change: adapters and prompt must stay the same, and these belong to the run.
FIXED = (
    *(StudentConfig.model_fields.keys() - {"attn_implementation", "torch_compile", "max_text_length"}),
    *("glossary", "glossary_characters", "columns", "directed", "output_dir", "init_from", "stages"),
)


def stage_configs(config: TrainConfig) -> list[TrainConfig]:
    """Return the settings of each stage in order; without stages `config` alone.

    The last stage writes to the run's own output folder, the others to `stage-1`, `stage-2`, ... in it. A dotted key changes
    one key of a mapping. Raises ConfigError for a key that no stage may change, an unknown key or objective, or a wrong value.
    """
    if not config.stages:
        _require_objectives(config)
        return [config]
    shared = config.model_dump(exclude={"stages"})
    output_dir, found = Path(config.output_dir), list[TrainConfig]()
    for number, changes in enumerate(config.stages, 1):
        before = None if number == 1 else str(stage_folder(output_dir, number - 1))
        values = _with_changes(shared, changes, number)
        if before is None and PREVIOUS_STAGE in (values["teacher"], *values["other_teachers"]):
            raise ConfigError(f"stages: stage 1 has no stage before it; give another teacher than {PREVIOUS_STAGE}")
        values["teacher"] = before if values["teacher"] == PREVIOUS_STAGE else values["teacher"]
        values["other_teachers"] = [before if one == PREVIOUS_STAGE else one for one in values["other_teachers"]]
        values["init_from"] = before or config.init_from
        values["output_dir"] = str(output_dir if number == len(config.stages) else stage_folder(output_dir, number))
        try:
            found.append(TrainConfig.check(values))
            _require_objectives(found[-1])
        except ConfigError as error:
            raise ConfigError(f"stages: stage {number}: {error}") from None
    return found


def _require_objectives(config: TrainConfig) -> None:
    """Raise ConfigError for an unknown objective now, before a teacher is read or a model is loaded."""
    for name in config.objectives:
        require_name(OBJECTIVES, name, what="objective")


def _with_changes(shared: Mapping[str, Any], changes: Mapping[str, Any], number: int) -> dict[str, Any]:
    for key in changes:
        if key.partition(".")[0] in FIXED:
            raise ConfigError(
                f"stages: stage {number} sets {key}, which must be the same in all stages; set it outside of stages"
            )
    return TrainConfig.with_changes(shared, changes)


def stage_folder(output_dir: str | Path, number: int) -> Path:
    """Return the folder of a stage that is not the last one, counted from 1."""
    return Path(output_dir) / f"stage-{number}"


def require_same_stages(output_dir: str | Path, count: int) -> None:
    """Raise ArtefactError when the folder holds a run with another number of stages, before anything is trained."""
    started = stage_folder(output_dir, count).exists()  # the last stage has no folder of its own
    unfinished = (Path(output_dir) / RUN).exists() and any(
        not stage_folder(output_dir, number).exists() for number in range(1, count)
    )
    if started or unfinished:
        raise ArtefactError(
            f"{output_dir}: holds a run with another number of stages than {count}; choose another output_dir, or give the "
            "same stages to resume it"
        )


def read_inputs(config: TrainConfig) -> tuple[dict[str, Any], Pool | None]:
    """Read and check the training and validation pairs and the pool."""
    require_pool_for_ratio(config)
    sets = trainable_sets(config, "train", "validation")
    warn_of_leaks(sets)
    if not config.unlabelled_file:
        return sets, None
    pool = unlabelled_pool(config.unlabelled_file, columns=config.columns, train=sets["train"])
    warn_of_leaks({"unlabelled": pool.dataset, "validation": sets["validation"]})
    return sets, pool
