"""How settings are read: YAML, `key=value` words and options become one checked model, or an error that says what to do.

Precedence: defaults, then the YAML file, then the command line. An unknown key is an error that names the nearest spelling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from flipkd.errors import ConfigError, nearest, shorten

LARGEST_FILE = 256 * 1024  # bytes of a YAML file
LARGEST = 20_000  # values of a YAML document, aliases written out
LONGEST_NUMBER = 100  # characters


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
    """YAML without traps: `no` and `yes` as keys are words, `1e-8` is a number, and aliases multiply nothing without bound."""

    def get_single_node(self) -> yaml.Node | None:
        """The document, refused when its aliases written out would be more than LARGEST nodes."""
        node = super().get_single_node()
        if node is not None:
            self._size(node, {})
        return node

    def _size(self, node: yaml.Node, known: dict[int, int]) -> int:
        """Nodes that this one stands for, aliases written out; one that holds itself never ends and is too large."""
        if id(node) not in known:
            known[id(node)] = LARGEST  # while it is counted
            children: list[yaml.Node] = []
            if isinstance(node, yaml.SequenceNode):
                children = node.value
            elif isinstance(node, yaml.MappingNode):
                children = [part for pair in node.value for part in pair]
            known[id(node)] = 1 + sum(self._size(child, known) for child in children)
        if known[id(node)] > LARGEST:
            problem = f"its aliases (*name) stand for more than {LARGEST:,} values"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return known[id(node)]

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a node; what is longer than a number can be is a text, whose digits are not looked through."""
        if kind is yaml.ScalarNode and len(value) > LONGEST_NUMBER:
            implicit = (False, implicit[1])
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """What yaml calls for each mapping; a key that stands twice is refused, where yaml would take the last."""
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:bool":
                key.tag = "tag:yaml.org,2002:str"
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("+-.0123456789"))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ConfigError(f"{path}: has {size:,} bytes; a file of settings has at most {LARGEST_FILE:,}")
        values = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except ConfigError:
        raise
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
