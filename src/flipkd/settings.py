"""Read settings: YAML, options and `key=value` texts become one checked model, or an error that names what to do.

Precedence: defaults, then the YAML file, then options, then `--set`. An unknown key is an error that names the nearest spelling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from flipkd.errors import ConfigError, UsageError, nearest, shorten
from flipkd.yaml_values import read_value, read_yaml


class Settings(BaseModel):
    """Settings of one command; `build` reads them, `check` takes plain values."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), frozen=True, allow_inf_nan=False)
    inside: ClassVar[Mapping[str, type[Settings]]] = {}
    """Fields that hold settings of another command."""

    @classmethod
    def build(
        cls, config: Path | None = None, assignments: Sequence[str] = (), given: Mapping[str, Any] | None = None
    ) -> Self:
        """Settings from a YAML file, options by name (None: not given) and `key=value` texts of `--set`.

        The text of an option is read by the type of its field, that of `--set` as YAML. Raises ConfigError for what is
        wrong in the file and UsageError for anything else; both name the key, the value and what is allowed.
        """
        file = read_yaml(config) if config else {}
        values = dict(file)
        try:
            for name, value in (given or {}).items():
                if value is not None:
                    cls._give(values, name, value)
            values = cls.changed(values, assignments)
        except ConfigError as error:
            raise UsageError(str(error)) from None
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            key, problem = cls._explain(error.errors(), values)
            from_file = key in file and values[key] is file[key]
            raise (ConfigError if from_file else UsageError)(problem) from None

    @classmethod
    def changed(cls, values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
        """Plain values with `key=value` texts applied, as `--set` does. Raises ConfigError for a text of another form."""
        values = dict(values)
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise ConfigError(f"--set {shorten(assignment)} has no '='; write --set key=value")
            cls._assign(values, key.strip().split("."), read_value(text, f"--set {key}"))
        return values

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> Self:
        """Settings from plain values. Raises ConfigError instead of pydantic's own error."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(cls._explain(error.errors(), values)[1]) from None

    @classmethod
    def mappings(cls) -> set[str]:
        """Names of the fields whose parts have options of their own, as `--objectives.margin_hinge 0.5`."""
        return {name for name, field in cls.model_fields.items() if _member(field.annotation, dict)}

    @classmethod
    def is_argument(cls, name: str) -> bool:
        """Whether a field is given without its name on the command line, as it is."""
        extra = cls.model_fields[name].json_schema_extra if name in cls.model_fields else None
        return isinstance(extra, dict) and bool(extra.get("argument"))

    @classmethod
    def _give(cls, values: dict[str, Any], name: str, value: Any) -> None:
        """Set a field from an option: the texts that were given for it, or the value itself."""
        texts = [value] if isinstance(value, str) else value
        if cls.is_argument(name) or not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            values[name] = value
        elif name not in cls.mappings():
            values[name] = cls._read([name], texts)
        else:
            for text in texts:
                key, equals, part = text.partition("=")
                if text.startswith("{"):
                    values[name] = read_value(text, f"--{name}")
                elif key and equals and part:
                    path = [name, *key.split(".")]
                    cls._assign(values, path, cls._read(path, [part]))
                else:
                    raise ConfigError(f"--{name} {shorten(text)}: write KEY=VALUE")

    @classmethod
    def _read(cls, path: Sequence[str], texts: Sequence[str]) -> Any:
        """The value of a field, or of a part of a mapping, from the texts that were given for it."""
        if path[0] in cls.inside and len(path) > 1:
            return cls.inside[path[0]]._read(path[1:], texts)
        annotation = cls.model_fields[path[0]].annotation if path[0] in cls.model_fields else Any
        for _ in path[1:]:
            mapping = _member(annotation, dict)
            annotation = get_args(mapping)[1] if mapping else Any
        return _read_texts(annotation, texts, f"--{'.'.join(path)}")

    @classmethod
    def _assign(cls, values: dict[str, Any], path: Sequence[str], value: Any) -> None:
        """Set a dotted key; a mapping that the file left out starts from its default, so one part can be changed."""
        if path[0] in cls.inside and len(path) > 1 and isinstance(values.get(path[0], {}), dict):
            values[path[0]] = dict(values.get(path[0], {}))
            cls.inside[path[0]]._assign(values[path[0]], path[1:], value)
            return
        for depth, part in enumerate(path[:-1]):
            if part not in values or values[part] is None:
                field = cls.model_fields.get(part) if depth == 0 else None
                values[part] = field.get_default(call_default_factory=True) if field is not None else {}
            if not isinstance(values[part], dict):
                # `objectives.margin_hinge` is a weight until one of its arguments is set
                values[part] = {"weight": values[part]} if isinstance(values[part], int | float) else {}
            values[part] = dict(values[part])
            values = values[part]
        values[path[-1]] = value

    @classmethod
    def _explain(cls, problems: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> tuple[str, str]:
        """The field that a problem is about, and one sentence."""
        # An unknown key first: `train_fil` is why train_file is missing.
        problems = sorted(problems, key=lambda problem: problem["type"] != "extra_forbidden")
        kind, where = problems[0]["type"], str(problems[0]["loc"][0])
        if kind == "extra_forbidden":
            hint = cls.elsewhere(where) or nearest(where, list(cls.model_fields))
            return where, f"no setting is called {where!r}; {hint}"
        if kind == "missing":
            option = "it" if cls.is_argument(where) else f"--{where}"
            return where, f"{where} is missing; give {option}, or write it in the YAML file of --config"
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
        return where, f"{'.'.join(map(str, path))} is {shorten(value)}: {', or '.join(allowed)}{example}"

    @classmethod
    def elsewhere(cls, name: str) -> str:
        """The hint for a setting of a command inside this one; empty where there is none of that name."""
        command = next((command for command, model in cls.inside.items() if name in model.model_fields), None)
        return f"it is a setting of flipkd {command}: --{command}.{name}" if command else ""


def members(annotation: Any) -> list[Any]:
    """The types of a union and the values of a Literal, without None and Annotated."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return members(parts[0])
    if origin in (Union, UnionType):
        return [member for part in parts for member in members(part)]
    if origin is Literal:
        return list(parts)
    return [] if annotation is NoneType else [annotation]


def _member(annotation: Any, origin: type) -> Any:
    """The list or the mapping among the members of a type, or None."""
    return next((member for member in members(annotation) if get_origin(member) is origin), None)


def _read_texts(annotation: Any, texts: Sequence[str], where: str) -> Any:
    """A value from the texts of an option: text as it is, lists with commas or repeated, anything else as YAML."""
    types, text = members(annotation), texts[-1]
    if many := _member(annotation, list):
        if len(texts) == 1 and text.startswith("["):
            return read_value(text, where)
        if len(texts) == 1 and "," not in text and (str in types or text in types):
            return text
        return [_read_texts(get_args(many)[0], [part.strip()], where) for text in texts for part in text.split(",")]
    if all(member is str or isinstance(member, str) for member in types):
        return text
    return read_value(text, where)
