"""Parse settings from YAML, options and `key=value` texts into one validated model.

Precedence: defaults, then the YAML file, then options, then `--set`. An unknown key is an error with the nearest spelling.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from flipkd.errors import ConfigError, UsageError, nearest, shorten
from flipkd.schema_errors import expected
from flipkd.yaml_values import read_value, read_yaml


class Settings(BaseModel):
    """Settings of one command; `build` parses texts, `check` validates plain values."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), frozen=True, allow_inf_nan=False)
    nested: ClassVar[Mapping[str, type[Settings]]] = {}
    """Fields that hold the settings of another command."""
    left_out_at_default: ClassVar[frozenset[str]] = frozenset()
    """Settings added after results were stored: identities have them only with another value than the default."""

    @classmethod
    def build(
        cls, config: Path | None = None, assignments: Sequence[str] = (), given: Mapping[str, Any] | None = None
    ) -> Self:
        """Build settings from a YAML file, options by name (None: not given) and `key=value` texts of `--set`.

        The text of an option is parsed by the type of its field, that of `--set` as YAML. Raises ConfigError for a wrong
        value in the file and UsageError for any other; both name the key, the value and the allowed values.
        """
        file = read_yaml(config) if config else {}
        values = dict(file)
        try:
            for name, value in (given or {}).items():
                if value is not None:
                    cls._set_option(values, name, value)
            values = cls.with_assignments(values, assignments)
        except ConfigError as error:
            raise UsageError(str(error)) from None
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            key, problem = cls._explain(error.errors(), values)
            from_file = key in file and values[key] is file[key]
            raise (ConfigError(f"{config}: {problem}") if from_file else UsageError(problem)) from None

    def refuse_unused(self, uses: Mapping[str, Sequence[str]], *, by: str) -> None:
        """Raise UsageError for a setting that was given and that the value of the setting `by` does not use.

        uses: values of `by` that use a setting, by its name.
        """
        chosen = getattr(self, by)
        for name, values in uses.items():
            if name in self.model_fields_set and chosen not in values:
                raise UsageError(f"--{name} has no effect with {by}={chosen}; it is for {', '.join(values)}")

    @classmethod
    def with_assignments(cls, values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
        """Return the values with `key=value` texts applied, as `--set` does. Raises ConfigError for a text without `=`."""
        values = dict(values)
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise ConfigError(f"--set {shorten(assignment)} has no '='; write --set KEY=VALUE")
            cls._set_path(values, key.strip().split("."), read_value(text, f"--set {key}"))
        return values

    @classmethod
    def with_changes(cls, values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values with these changes; a dotted key changes one key of a mapping, as in `--set`."""
        values = dict(values)
        for key, value in changes.items():
            cls._set_path(values, key.split("."), value)
        return values

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> Self:
        """Validate plain values; a path may be a Path. Raises ConfigError instead of pydantic's own error."""
        values = {name: _without_paths(value) for name, value in values.items()}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(cls._explain(error.errors(), values)[1]) from None

    @classmethod
    def require(cls, config: object) -> None:
        """Raise UsageError unless `config` is of this class; settings in a mapping have to be checked first."""
        if not isinstance(config, cls):
            place = ".".join(cls.__module__.split(".")[:2])
            raise UsageError(
                f"got {shorten(config)} of type {type(config).__name__}; write {place}.{cls.__name__}.check({{SETTING: VALUE}})"
            )

    def identity(self, *, exclude: Iterable[str] = ()) -> dict[str, Any]:
        """Return the values that identify what is computed with these settings, without the fields in `exclude`.

        A setting that came later and has its default is left out, so what was stored before is still found.
        """
        fields = type(self).model_fields
        at_default = {name for name in self.left_out_at_default if getattr(self, name) == fields[name].default}
        return self.model_dump(mode="json", exclude={*exclude, *at_default})

    @classmethod
    def mapping_fields(cls) -> set[str]:
        """Return the names of the mapping fields; each key has its own option, as `--objectives.margin_hinge 0.5`."""
        return {name for name, field in cls.model_fields.items() if _find_container(field.annotation, dict)}

    @classmethod
    def is_argument(cls, name: str) -> bool:
        """Return whether a field is a positional argument of the command line."""
        extra = cls.model_fields[name].json_schema_extra if name in cls.model_fields else None
        return isinstance(extra, dict) and bool(extra.get("argument"))

    @classmethod
    def _set_option(cls, values: dict[str, Any], name: str, value: Any) -> None:
        """Set a field from an option: parse its texts, or take a value that is not text as it is."""
        texts = [value] if isinstance(value, str) else value
        if cls.is_argument(name) or not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            values[name] = value
        elif name not in cls.mapping_fields():
            values[name] = cls._read_option([name], texts)
        else:
            for text in texts:
                key, equals, part = text.partition("=")
                if text.startswith("{"):
                    values[name] = read_value(text, f"--{name}")
                elif key and equals and part:
                    path = [name, *key.split(".")]
                    cls._set_path(values, path, cls._read_option(path, [part]))
                else:
                    raise ConfigError(f"--{name} {shorten(text)}: write KEY=VALUE")

    @classmethod
    def _read_option(cls, path: Sequence[str], texts: Sequence[str]) -> Any:
        """Parse the value of a field, or of one key of a mapping, from the texts of its option."""
        if path[0] in cls.nested and len(path) > 1:
            return cls.nested[path[0]]._read_option(path[1:], texts)
        annotation = cls.model_fields[path[0]].annotation if path[0] in cls.model_fields else Any
        for _ in path[1:]:
            mapping = _find_container(annotation, dict)
            annotation = get_args(mapping)[1] if mapping else Any
        return _read_texts(annotation, texts, f"--{'.'.join(path)}")

    @classmethod
    def _set_path(cls, values: dict[str, Any], path: Sequence[str], value: Any) -> None:
        """Set a dotted key; a mapping that is missing in the file starts from its default, so one key can be changed."""
        if path[0] in cls.nested and len(path) > 1 and isinstance(values.get(path[0], {}), dict):
            values[path[0]] = dict(values.get(path[0], {}))
            cls.nested[path[0]]._set_path(values[path[0]], path[1:], value)
            return
        for depth, part in enumerate(path[:-1]):
            if part not in values or values[part] is None:
                field = cls.model_fields.get(part) if depth == 0 else None
                values[part] = field.get_default(call_default_factory=True) if field is not None else {}
            if not isinstance(values[part], dict):
                # `objectives.margin_hinge` is a weight alone until one of its arguments is set.
                values[part] = {"weight": values[part]} if isinstance(values[part], int | float) else {}
            values[part] = dict(values[part])
            values = values[part]
        values[path[-1]] = value

    @classmethod
    def _explain(cls, problems: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> tuple[str, str]:
        """Return the field of the first problem, and one sentence about it."""
        # Unknown keys come first: the typo `train_fil` explains why train_file is missing.
        problems = sorted(problems, key=lambda problem: problem["type"] != "extra_forbidden")
        kind, where = problems[0]["type"], str(problems[0]["loc"][0])
        if kind == "extra_forbidden":
            hint = cls.hint_for_nested(where) or nearest(where, list(cls.model_fields))
            return where, f"no setting is called {where!r}; {hint}"
        if kind == "missing":
            option = "it after the name of the command" if cls.is_argument(where) else f"--{where}"
            return where, f"{where} is missing; give {option}, or write it in the YAML file of --config"
        # Pydantic's location also names the branch of a union such as `float | dict`; stop where the values end.
        depth, value = 0, values
        for part in problems[0]["loc"]:
            exists = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
            if not exists:
                break
            depth, value = depth + 1, value[part]
        path = problems[0]["loc"][:depth]
        same = [problem for problem in problems if problem["loc"][:depth] == path]
        return where, f"{'.'.join(map(str, path))} is {shorten(value)}{expected(same)}"

    @classmethod
    def hint_for_nested(cls, name: str) -> str:
        """Return a hint for a setting of a nested command; empty when no nested command has that setting."""
        command = next((command for command, model in cls.nested.items() if name in model.model_fields), None)
        return f"it is a setting of flipkd {command}: --{command}.{name}" if command else ""


def _without_paths(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_without_paths(part) for part in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def type_members(annotation: Any) -> list[Any]:
    """Return the types of a union and the values of a Literal, without None and Annotated."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_members(parts[0])
    if origin in (Union, UnionType):
        return [member for part in parts for member in type_members(part)]
    if origin is Literal:
        return list(parts)
    return [] if annotation is NoneType else [annotation]


def _find_container(annotation: Any, origin: type) -> Any:
    """Return the list type or the mapping type among the members of a type, or None."""
    return next((member for member in type_members(annotation) if get_origin(member) is origin), None)


def _read_texts(annotation: Any, texts: Sequence[str], where: str) -> Any:
    """Parse the texts of an option: text as it is, lists with commas or a repeated option, other types as YAML."""
    types, text = type_members(annotation), texts[-1]
    if many := _find_container(annotation, list):
        if len(texts) == 1 and text.startswith("["):
            return read_value(text, where)
        if len(texts) == 1 and "," not in text and (str in types or text in types):
            return text
        return [_read_texts(get_args(many)[0], [part.strip()], where) for text in texts for part in text.split(",")]
    if all(member is str or isinstance(member, str) for member in types):
        return text
    return read_value(text, where)
