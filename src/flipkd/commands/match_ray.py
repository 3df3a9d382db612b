"""match --engine ray: the parts of a large match, scored by workers of a Ray cluster, each of which loads the model once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flipkd import errors
from flipkd.command_config import MatchConfig
from flipkd.commands.match_parts import PAIRS, Part
from flipkd.commands.match_rows import Scorer
from flipkd.cores import usable_cores
from flipkd.errors import FlipkdError, ResourceError, shorten
from flipkd.extras import require_extra
from flipkd.files import write_text

CORES_PER_WORKER = 4  # on a CPU; more cores for one small model bring little
ATTEMPTS = 3  # per part, when its worker dies


class PartScorer:
    """Worker of the cluster: scores the parts that it gets, with a matcher that it loads once."""

    def __init__(self, settings: dict[str, Any], folder: str) -> None:
        self._settings, self._folder = settings, Path(folder)
        self._scorer: Any = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Score the parts of a batch {name, file}; return their names, and under `error` the class and text of an error.

        An error is returned because Ray logs several tracebacks of one that is raised.
        """
        try:
            for name, file in zip(batch["name"], batch["file"], strict=True):
                self._score(str(name), str(file))
        except FlipkdError as error:
            return {"name": batch["name"], "error": [f"{type(error).__name__} {error}"] * len(batch["name"])}
        return {"name": batch["name"], "error": [""] * len(batch["name"])}

    def _score(self, name: str, file: str) -> None:
        from flipkd.commands.match_files import score_part

        self._count_attempt(name, file)
        if self._scorer is None:
            self._scorer = Scorer(MatchConfig.check(self._settings))
        score_part(self._scorer, name, file, self._folder)

    def _count_attempt(self, name: str, file: str) -> None:
        """Raise ResourceError when the workers before this one died on the part: Ray itself would try it for ever."""
        record = _attempts(self._folder, name)
        attempts = int(record.read_text()) if record.exists() else 0
        if attempts == ATTEMPTS:
            raise ResourceError(
                f"{file}: {ATTEMPTS} workers died while they scored part {name}; perhaps out of memory: lower --batch_size or "
                "--workers"
            )
        write_text(record, str(attempts + 1))


def _attempts(folder: Path, name: str) -> Path:
    return folder / PAIRS / f"{name}.attempts"


def score_with_ray(config: MatchConfig, parts: Sequence[Part], folder: Path) -> Iterator[str]:
    """Score parts with Ray Data and yield the name of each finished one, in no fixed order.

    A cluster is used when RAY_ADDRESS names one, which must see `folder` and the matcher under the same paths; else a local
    one is started. A part whose worker dies is scored by another. Raises the error of a worker, and ResourceError when the
    cluster fails.
    """
    require_extra("ray", user="match --engine ray")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # read when ray is imported
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.exceptions import RayError

    ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False, ignore_reinit_error=True)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = False
    try:
        workers, resources = _pool(config, len(parts))
        for part in parts:
            _attempts(folder, part.name).unlink(missing_ok=True)
        rows = [{"name": part.name, "file": part.file} for part in parts]
        scored = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            PartScorer,
            batch_size=1,
            compute=ActorPoolStrategy(size=workers),
            fn_constructor_args=(config.model_dump(), str(folder.resolve())),
            **resources,
        )
        for row in scored.iter_rows():
            if row["error"]:
                raise _same_error(row["error"])
            yield str(row["name"])
    except RayError as error:
        lines = str(error).strip().splitlines()
        raise ResourceError(
            f"{folder}: the Ray cluster failed ({shorten(lines[-1] if lines else repr(error), 300)}); the finished parts are "
            "kept: run the same command again"
        ) from None
    finally:
        ray.shutdown()


def _pool(config: MatchConfig, parts: int) -> tuple[int, dict[str, float]]:
    """Number of workers, and the resources of each: a GPU where the cluster has some, else a group of cores."""
    import ray

    total = ray.cluster_resources()
    gpus, cores = int(total.get("GPU", 0)), int(total.get("CPU", usable_cores()))
    if gpus:
        return min(config.workers or gpus, gpus, parts), {"num_gpus": 1}
    workers = min(config.workers or max(cores // CORES_PER_WORKER, 1), cores, parts)
    return workers, {"num_cpus": cores // workers}


def _same_error(described: str) -> FlipkdError:
    """The error of flipkd that a worker described by its class and text."""
    name, _, text = described.partition(" ")
    error: FlipkdError = getattr(errors, name)(text)
    return error
