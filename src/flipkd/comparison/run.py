"""One run (system, seed) of a comparison: its pairs, its settings, all that its scores depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from flipkd.commands.pairs import content_hash, trainable_pairs, warn_of_leaks
from flipkd.commands.pool import pool_size, require_pool_for_ratio, unlabelled_pool
from flipkd.commands.teach import local_model
from flipkd.commands.train import initial_adapters_identity
from flipkd.comparison.entries import PATHS, Entry, short_hash
from flipkd.config import CompareConfig, TeachConfig, TrainConfig
from flipkd.data import Pool
from flipkd.data.labels import labels_of

Placed = TypeVar("Placed", TeachConfig, TrainConfig)


@dataclass
class Run:
    """Inputs and results of one (system, seed): settings and pairs of the comparison, the entry, the seed."""

    config: CompareConfig
    sets: dict[str, Any]
    entry: Entry
    seed: int
    cost: dict[str, float] = field(default_factory=dict)
    """Pairs a second in training and in scoring."""
    matcher: str | None = None
    """The trained student's folder, as seen from the output folder."""
    chosen_score: str | None = None
    """The kind of score that the matcher in that folder decides by."""

    def texts(self, name: str) -> tuple[list[str], list[str]]:
        """Left and right texts of one split."""
        return self.sets[name]["text1"][:], self.sets[name]["text2"][:]

    @property
    def shared(self) -> dict[str, Any]:
        """Settings that every teacher and student of this run has."""
        names = ("train_file", "validation_file", "columns", "directed")
        return {name: getattr(self.config, name) for name in names} | {"seed": self.seed}

    def identity(self) -> dict[str, Any]:
        """All settings that this run's scores depend on, and what is in files that may change under the same name."""
        found, entry = self.entry.identity(self.shared), self.entry
        if entry.parts:
            return found | {"parts": [replace(self, entry=part).identity() for part in entry.parts]}
        own: dict[str, Any] = {}
        if entry.system.has_teacher:
            teach = self.teach_config()
            own |= {f"teach.{name}": value for name, value in self._own(teach, entry.teach).items()}
            own |= {f"teach.{name}": value for name, value in local_model(teach.teacher_name_or_path).items()}
        if entry.system.is_student:
            require_pool_for_ratio(TrainConfig.check({**self.shared, **entry.train}))
            train = self.train_config(None)
            own |= self._own(train, entry.train) | local_model(train.model_name_or_path)
            found |= {"symmetric": True} if self.config.symmetric else {}
            own |= initial_adapters_identity(train.init_from)
        return found | ({"own_files": own} if own else {})

    def _own(self, settings: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """Paths that this entry does not share with the comparison: of files of pairs the hash of what they hold."""
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
        """Settings of the run's teacher; equal settings have one folder, whichever systems use it."""
        return self._placed(self.entry.teach_config(self.shared), "teacher")

    def train_config(self, teacher: str | None) -> TrainConfig:
        """Settings of the run's student, which learns from the teacher in that folder."""
        config = self.entry.train_config({**self.shared, "teacher": teacher})
        if self.entry.equal_steps:
            all_rows = self._rows_per_label if self.entry.system.kind == "labels" else 1.0
            epochs = config.num_train_epochs * all_rows + self._epochs_of_pool
            config = config.model_copy(update={"num_train_epochs": epochs})
        return self._placed(config, self.entry.name)

    @cached_property
    def _train_set(self) -> Any:
        """The training pairs of the comparison, or of this entry's own file."""
        config = self.entry.train_config(self.shared)
        own = config.train_file != self.config.train_file or config.columns != self.config.columns
        if not own:
            return self.sets["train"]
        return trainable_pairs(config.train_file, columns=config.columns, name="train", directed=config.directed)

    @property
    def _rows_per_label(self) -> float:
        """All training rows by those with a label."""
        return len(self._train_set) / int((labels_of(self._train_set) >= 0).sum())

    @cached_property
    def pool(self) -> Pool:
        """The unlabelled pairs of the `unlabelled_file`, read once."""
        config = TrainConfig.check({**self.shared, **self.entry.train})
        return unlabelled_pool(str(config.unlabelled_file), columns=config.columns, train=self._train_set)

    @cached_property
    def _epochs_of_pool(self) -> float:
        """Epochs over the labelled rows that make as many steps as `flipped` makes of the pool's pairs."""
        config = TrainConfig.check({**self.shared, **self.entry.train})
        if not config.unlabelled_file:
            return 0.0
        labels = labels_of(self._train_set)
        asked = pool_size(self.pool, labels, config.unlabelled_ratio)
        return config.num_train_epochs * asked / int((labels >= 0).sum())

    def _placed(self, settings: Placed, name: str) -> Placed:
        values = settings.model_dump(mode="json", exclude={"output_dir", "seed"})
        digest = short_hash(values | {"teacher": Path(values.get("teacher") or "").name})
        folder = Path(self.config.output_dir) / "runs" / f"{name}-{digest}-seed{self.seed}"
        return settings.model_copy(update={"output_dir": str(folder)})
