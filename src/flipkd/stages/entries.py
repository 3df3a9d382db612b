"""What stands side by side in a comparison: built-in systems, and variants of them with other settings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flipkd.config import MINED_BY_DEFAULT, NAME, CompareConfig, TeachConfig, TrainConfig
from flipkd.errors import ConfigError, nearest

STUDENTS = ("untrained", "plain", "no_teacher", "flipped")
LABELS_ONLY = ("plain", "no_teacher")  # they read labelled rows, and make as many steps of them as `flipped` of all
TEACHERS = ("teacher", "teacher_finetuned", "cross_encoder")
SYSTEM_NAMES = ("tfidf", *TEACHERS, *STUDENTS)
PATHS = frozenset({"train_file", "validation_file", "output_dir", "teacher", "columns"})
OF_THE_COMPARISON = ("seed", "output_dir", "teacher")  # it gives each unit its own
PER_SYSTEM: dict[str, dict[str, Any]] = {
    "teacher": {"fine_tune": False},
    "teacher_finetuned": {"fine_tune": True},
    "cross_encoder": {"teacher_type": "cross_encoder"},
    "plain": {"objectives": {"answer_cross_entropy": 1.0}, "score": "auto", "keep_teacher": "auto"},
    "no_teacher": {
        "objectives": {"answer_cross_entropy": 1.0, "cosent": 1.0},
        "score": "auto",
        "keep_teacher": "auto",
    },
}


@dataclass(frozen=True)
class Entry:
    """One name of a comparison: its system, and the settings of teacher and student that differ from the defaults."""

    name: str
    system: str
    teach: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What a variant changes of the comparison's own settings; the teacher's with `teach.` before."""

    @property
    def overrides(self) -> dict[str, Any]:
        """The changes that this system's scores depend on, as a result file records them."""
        of_teacher = {name: value for name, value in self.changes.items() if name.startswith("teach.")}
        of_student = {name: value for name, value in self.changes.items() if name not in of_teacher}
        return (of_student if self.system in STUDENTS else {}) | (of_teacher if self.has_teacher else {})

    @property
    def has_teacher(self) -> bool:
        """Whether the system is a small model or learns from one."""
        return self.system in TEACHERS or self.system == "flipped"

    def teach_config(self, shared: Mapping[str, Any]) -> TeachConfig:
        """Settings of the teacher: this system's own, or the one that the flipped student learns from."""
        own = PER_SYSTEM.get(self.system, {}) if self.system in TEACHERS else {}
        return TeachConfig.check({**shared, **self.teach, **own})

    def train_config(self, shared: Mapping[str, Any]) -> TrainConfig:
        """Settings of the student; one of labels only makes as many steps as mined pairs give the flipped one."""
        config = TrainConfig.check({**shared, **self.train, **PER_SYSTEM.get(self.system, {})})
        if self.system not in LABELS_ONLY:
            return config
        by_default = MINED_BY_DEFAULT if self.teach.get("teacher_type", "bi_encoder") == "bi_encoder" else 0.0
        ratio = by_default if config.mined_ratio is None else config.mined_ratio
        return config.model_copy(
            update={"num_train_epochs": config.num_train_epochs * (1 + ratio), "mined_ratio": 0.0}
        )

    def identity(self, shared: Mapping[str, Any]) -> dict[str, Any]:
        """All settings that the scores depend on, defaults and all; no paths."""
        found: dict[str, Any] = {"system": self.system, "overrides": self.overrides}
        if self.has_teacher:
            found["teach"] = self.teach_config(shared).model_dump(mode="json", exclude=set(PATHS))
        if self.system in STUDENTS:
            found["train"] = self.train_config(shared).model_dump(mode="json", exclude=set(PATHS))
        return found


def entries(config: CompareConfig) -> list[Entry]:
    """The systems and variants that `config` names, in its order. Raises ConfigError for a name that is neither."""
    for name in config.variants:
        if not re.fullmatch(NAME, name):
            raise ConfigError(f"variants: {name!r} is part of files' names; use letters, digits, '.', '_' and '-'")
        if name in SYSTEM_NAMES:
            raise ConfigError(f"variants.{name}: {name} is a system already; choose another name")
    known = [*SYSTEM_NAMES, *config.variants]
    for name in config.systems:
        if name not in known:
            raise ConfigError(f"no system is called {name!r}; {nearest(name, known)}")
    return [_entry(config, name) for name in dict.fromkeys(config.systems)]


def _entry(config: CompareConfig, name: str) -> Entry:
    words = list(config.variants.get(name, []))
    picked = [word.partition("=")[2] for word in words if word.startswith("system=")]
    system = picked[-1] if picked else ("flipped" if name in config.variants else name)
    if system not in SYSTEM_NAMES:
        raise ConfigError(f"variants.{name}: no system is called {system!r}; {nearest(system, list(SYSTEM_NAMES))}")
    teach_words = [word.removeprefix("teach.") for word in words if word.startswith("teach.")]
    train_words = [word for word in words if not word.startswith(("teach.", "system="))]
    teach, train = TeachConfig.changed(config.teach, teach_words), TrainConfig.changed(config.train, train_words)
    for stage, settings in (("teach", teach), ("train", train)):
        if own := [key for key in OF_THE_COMPARISON if key in settings]:
            raise ConfigError(f"{stage}.{own[0]} cannot be set here: a comparison gives each unit its own (see seeds)")
    fixed = PER_SYSTEM.get(system, {})
    for key, value in (_differing(train, config.train) | _differing(teach, config.teach)).items():
        if key in fixed and value != fixed[key]:
            raise ConfigError(f"variants.{name}: {key} is {fixed[key]!r} in the system {system}, which sets it itself")
    changes = _differing(train, config.train) | {
        f"teach.{name}": value for name, value in _differing(teach, config.teach).items()
    }
    entry = Entry(name, system, teach, train, changes)
    if idle := sorted(changes.keys() - entry.overrides.keys()):
        raise ConfigError(f"variants.{name}: the system {system} has no use for {idle[0]}")
    return entry


def _differing(settings: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in base or base[name] != value}


def short_hash(values: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that differ when the settings do."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
