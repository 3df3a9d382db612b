"""Entries of a comparison: systems, variants with other settings, and blends of their scores."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flipkd.comparison.systems import SYSTEMS, system_named
from flipkd.config import CompareConfig, TeachConfig, TrainConfig
from flipkd.config.compare import NAME
from flipkd.config.train import DEFAULT_MINED_RATIO, PREVIOUS_STAGE
from flipkd.errors import ConfigError, nearest
from flipkd.evaluate.combine import PLUS
from flipkd.report.system import System

PATHS = frozenset(
    {"train_file", "validation_file", "unlabelled_file", "output_dir", "teacher", "columns", "init_from"}
)
PREVIOUS = ("teacher", PREVIOUS_STAGE)  # a path that a stage may set
RESERVED_SETTINGS = ("seed", "output_dir", "teacher")  # set by the comparison for each run


@dataclass(frozen=True)
class Entry:
    """One name of a comparison: its system, and the changed settings of teacher and student."""

    name: str
    system: System
    teach: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a variant that differ from the comparison's; those of the teacher have the prefix `teach.`."""
    parts: tuple[Entry, ...] = ()
    """Entries whose scores a blend adds up; empty for other entries."""

    @property
    def overrides(self) -> dict[str, Any]:
        """Return the changes that affect the scores of this system, as stored in its result file."""
        of_teacher = {name: value for name, value in self.changes.items() if name.startswith("teach.")}
        of_student = {name: value for name, value in self.changes.items() if name not in of_teacher}
        return (of_student if self.system.is_student else {}) | (of_teacher if self.system.has_teacher else {})

    @property
    def equal_steps(self) -> bool:
        """Return whether the system trains on labelled rows only, with as many steps as `flipped` has on all rows."""
        return self.system.kind == "labels" or "mined_ratio" in self.system.settings

    def teach_config(self, shared: Mapping[str, Any]) -> TeachConfig:
        """Build the settings of the teacher: of this system itself, or of the teacher of the flipped student."""
        own = self.system.settings if self.system.kind == "teacher" else {}
        with self._named("teach"):
            given = TeachConfig.check({**shared, **self.teach})
            if given.fine_tune == "auto" and own.get("fine_tune"):
                own = {}  # a worse encoder than the flipped student's teacher would be a weak control
            return TeachConfig.check({**shared, **self.teach, **own})

    def train_config(self, shared: Mapping[str, Any]) -> TrainConfig:
        """Build the settings of the student; a student without mined pairs has more epochs, for as many steps as `flipped`.

        `Run.train_config` adds the epochs for the pairs of a pool, whose number is in the file.
        """
        with self._named("train"):
            config = TrainConfig.check({**shared, **self.train, **self.system.settings})
        if not self.equal_steps:
            return config
        by_default = DEFAULT_MINED_RATIO if self.teach.get("teacher_type", "bi_encoder") == "bi_encoder" else 0.0
        given = TrainConfig.check({**shared, **self.train}).mined_ratio
        ratio = by_default if given is None else given
        return config.model_copy(
            update={
                "num_train_epochs": config.num_train_epochs * (1 + ratio),
                "mined_ratio": 0.0,
                "unlabelled_file": None,
                "unlabelled_ratio": None,
            }
        )

    @contextmanager
    def _named(self, command: str) -> Iterator[None]:
        """Name the system and the command in an error of a setting."""
        try:
            yield
        except ConfigError as error:
            raise ConfigError(f"{self.name}, settings of {command}: {error}") from None

    def identity(self, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings that affect the scores, with defaults and without paths."""
        if self.parts:
            return {"system": "blend", "overrides": {}, "parts": [part.identity(shared) for part in self.parts]}
        found: dict[str, Any] = {"system": self.system.name, "overrides": self.overrides}
        if self.system.has_teacher:
            found["teach"] = self.teach_config(shared).identity(exclude=PATHS)
        if self.system.is_student:
            found["train"] = self.train_config(shared).identity(exclude=PATHS)
        return found


def entries(config: CompareConfig) -> list[Entry]:
    """Return the systems and variants of `config` in its order, then the blends, which need their scores.

    Parts of blends are added when missing. Raises ConfigError for an unknown name.
    """
    for name in config.variants:
        if not re.fullmatch(NAME, name):
            raise ConfigError(f"variants: {name!r} is not usable in file names; use letters, digits, '.', '_' and '-'")
        if name in SYSTEMS:
            raise ConfigError(f"variants.{name}: {name} is the name of a system; choose another name")
    blends = {name: name.split(PLUS) for name in config.systems if PLUS in name}
    alone = [name for name in config.systems if name not in blends]
    parts = [part for found in blends.values() for part in found]
    known = [*SYSTEMS, *config.variants]
    for name in [*alone, *parts]:
        if name not in known:
            raise ConfigError(f"no system is called {name!r}; {nearest(name, known)}")
    for name, found in blends.items():
        if len(set(found)) < len(found):
            raise ConfigError(f"systems: duplicate part in the blend {name}; name each part once")
    made = {name: _make_entry(config, name) for name in dict.fromkeys([*alone, *parts])}
    blended = [
        Entry(name, system_named(name), parts=tuple(made[part] for part in found)) for name, found in blends.items()
    ]
    return [*made.values(), *blended]


def _make_entry(config: CompareConfig, name: str) -> Entry:
    assignments = config.variants.get(name, [])
    picked = [one.partition("=")[2] for one in assignments if one.startswith("system=")]
    system = picked[-1] if picked else ("flipped" if name in config.variants else name)
    if system not in SYSTEMS:
        raise ConfigError(f"variants.{name}: no system is called {system!r}; {nearest(system, list(SYSTEMS))}")
    of_teach = [one.removeprefix("teach.") for one in assignments if one.startswith("teach.")]
    of_train = [one for one in assignments if not one.startswith(("teach.", "system="))]
    teach = TeachConfig.with_assignments(config.teach, of_teach)
    train = TrainConfig.with_assignments(config.train, of_train)
    for command, settings in (("teach", teach), ("train", train)):
        if own := [key for key in RESERVED_SETTINGS if key in settings]:
            raise ConfigError(
                f"{command}.{own[0]} cannot be set here: the comparison sets it for each run (see seeds)"
            )
    _check_stages(f"variants.{name}" if name in config.variants else name, system, train.get("stages") or [])
    fixed = SYSTEMS[system].settings
    teach_changes, train_changes = _differing(teach, config.teach), _differing(train, config.train)
    for key, value in (train_changes | teach_changes).items():
        if key in fixed and value != fixed[key]:
            raise ConfigError(
                f"variants.{name}: {key} is fixed to {fixed[key]!r} in the system {system}; leave it out"
            )
    changes = train_changes | {f"teach.{key}": value for key, value in teach_changes.items()}
    entry = Entry(name, SYSTEMS[system], teach, train, changes)
    if idle := sorted(changes.keys() - entry.overrides.keys()):
        raise ConfigError(f"variants.{name}: {idle[0]} has no effect on the system {system}; leave it out")
    return entry


def _check_stages(where: str, system: str, stages: Sequence[Mapping[str, Any]]) -> None:
    """Raise ConfigError for stages of a system with fixed settings, and for files in stages, whose content is not compared."""
    if stages and SYSTEMS[system].is_student and system != "flipped":
        raise ConfigError(f"{where}: stages are for the system flipped, not for {system}; leave them out")
    for stage in stages:
        own = [key for key in (*PATHS, "seed") if stage.get(key) is not None and (key, stage[key]) != PREVIOUS]
        if own:
            raise ConfigError(
                f"{where}: a stage sets {own[0]}; in a comparison set it outside of stages, and to null in a stage without it"
            )


def _differing(settings: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in base or base[name] != value}


def short_hash(values: Mapping[str, Any]) -> str:
    """Return a hash of settings with eight hexadecimal digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
