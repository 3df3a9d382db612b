"""One run (system, seed) of a comparison: its pairs, its settings and its identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from flipkd.commands.matcher_teacher import open_teacher
from flipkd.commands.pairs import content_hash, trainable_pairs, warn_of_leaks
from flipkd.commands.pool import pool_size, require_pool_for_ratio, unlabelled_pool
from flipkd.commands.stages import stage_configs
from flipkd.commands.teach import local_model_entry
from flipkd.commands.train import initial_adapters_entry
from flipkd.comparison.entries import PATHS, Entry, short_hash
from flipkd.comparison.scores import HELD_OUT
from flipkd.config import CompareConfig, TeachConfig, TrainConfig
from flipkd.config.train import PREVIOUS_STAGE
from flipkd.data.glossary import glossary_entry
from flipkd.data.labels import labels_of
from flipkd.data.pool import Pool

Config = TypeVar("Config", TeachConfig, TrainConfig)


@dataclass
class Run:
    """Inputs and results of one (system, seed): settings and pairs of the comparison, the entry, the seed."""

    config: CompareConfig
    sets: dict[str, Any]
    entry: Entry
    seed: int
    cost: dict[str, float] = field(default_factory=dict)
    """Pairs per second in training and in scoring."""
    matcher: str | None = None
    """Folder of the trained student, relative to the output folder."""
    chosen_score: str | None = None
    """Kind of score that this matcher decides by."""

    @property
    def held_out(self) -> dict[str, Any]:
        """Return the pairs that each system scores: validation and test."""
        return {name: self.sets[name] for name in HELD_OUT}

    @property
    def shared(self) -> dict[str, Any]:
        """Return the settings common to every teacher and student of this run."""
        names = ("train_file", "validation_file", "columns", "directed")
        return {name: getattr(self.config, name) for name in names} | {"seed": self.seed}

    def identity(self) -> dict[str, Any]:
        """Return all settings that affect the scores, and hashes of files that may change under the same name."""
        found, entry = self.entry.identity(self.shared), self.entry
        if entry.parts:
            return found | {"parts": [replace(self, entry=part).identity() for part in entry.parts]}
        own: dict[str, Any] = {}
        if entry.system.has_teacher:
            teach = self.teach_config()
            own |= {f"teach.{name}": value for name, value in self._own_files(teach, entry.teach).items()}
            own |= {f"teach.{name}": value for name, value in local_model_entry(teach.teacher_name_or_path).items()}
        if entry.system.is_student:
            require_pool_for_ratio(TrainConfig.check({**self.shared, **entry.train}))
            train = self.train_config(None)
            stage_configs(train)  # raises for wrong settings of a stage before anything is computed
            own |= self._own_files(train, entry.train) | local_model_entry(train.model_name_or_path)
            found |= {"symmetric": True} if self.config.symmetric else {}
            own |= initial_adapters_entry(train.init_from) | glossary_entry(train.glossary)
            own |= _other_teachers_entry(train)
        return found | ({"own_files": own} if own else {})

    def _own_files(self, settings: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entry's own paths; for files of pairs the hash of their content instead of the path."""
        own: dict[str, Any] = {name: given[name] for name in PATHS - {"init_from"} if name in given}
        for name in own.keys() & {"train_file", "validation_file", "unlabelled_file"}:
            if own[name] is None:
                continue
            if name == "unlabelled_file":
                dataset = self.pool.dataset
            else:
                dataset = trainable_pairs(
                    own[name], columns=settings.columns, name=f"{self.entry.name}: {name}", directed=settings.directed
                )
            warn_of_leaks({f"{self.entry.name}: {name}": dataset, "test": self.sets["test"]})
            own[name] = content_hash(dataset)
        return own

    def teach_config(self) -> TeachConfig:
        """Build the settings of the run's teacher; systems with equal settings share one folder."""
        return self._with_output_dir(self.entry.teach_config(self.shared), "teacher")

    def train_config(self, teacher: str | None) -> TrainConfig:
        """Build the settings of the run's student; teacher: folder of its teacher."""
        config = self.entry.train_config({**self.shared, "teacher": teacher})
        if self.entry.equal_steps:
            epochs = config.num_train_epochs * (len(self._train_set) / self._own_rows) + self._epochs_of_pool
            config = config.model_copy(update={"num_train_epochs": epochs})
        return self._with_output_dir(config, self.entry.name)

    @cached_property
    def _train_set(self) -> Any:
        """Load the training pairs of the comparison, or of this entry's own file."""
        config = self.entry.train_config(self.shared)
        own = config.train_file != self.config.train_file or config.columns != self.config.columns
        if not own:
            return self.sets["train"]
        return trainable_pairs(config.train_file, columns=config.columns, name="train", directed=config.directed)

    @property
    def _own_rows(self) -> int:
        """Return the number of training rows of a system with equal steps: only a teacher makes use of unlabelled ones."""
        labelled = int((labels_of(self._train_set) >= 0).sum())
        return labelled if self.entry.system.kind == "labels" else len(self._train_set)

    @cached_property
    def pool(self) -> Pool:
        """Load the unlabelled pairs of the `unlabelled_file`, once."""
        config = TrainConfig.check({**self.shared, **self.entry.train})
        return unlabelled_pool(str(config.unlabelled_file), columns=config.columns, train=self._train_set)

    @cached_property
    def _epochs_of_pool(self) -> float:
        """Return the epochs over the system's own rows with as many steps as `flipped` has on the pool's pairs."""
        config = TrainConfig.check({**self.shared, **self.entry.train})
        if not config.unlabelled_file:
            return 0.0
        count = pool_size(self.pool, labels_of(self._train_set), config.unlabelled_ratio)
        return config.num_train_epochs * count / self._own_rows

    def _with_output_dir(self, settings: Config, name: str) -> Config:
        values = settings.identity(exclude={"output_dir", "seed"})
        digest = short_hash(values | {"teacher": Path(values.get("teacher") or "").name})
        folder = Path(self.config.output_dir) / "runs" / f"{name}-{digest}-seed{self.seed}"
        return settings.model_copy(update={"output_dir": str(folder)})


def _other_teachers_entry(config: TrainConfig) -> dict[str, list[str]]:
    """Return {"other_teachers": fingerprints}, also of those in stages, with their out-of-fold scores; {} without any."""
    folders = [*config.other_teachers, *(one for stage in config.stages for one in stage.get("other_teachers") or [])]
    teachers = [open_teacher(folder, validation=None) for folder in folders if folder != PREVIOUS_STAGE]
    found = [teacher.fingerprint + (f"+{teacher.folds}" if teacher.folds else "") for teacher in teachers]
    return {"other_teachers": found} if found else {}
