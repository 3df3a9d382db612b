"""Parse YAML safely, from a file or from one text of the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from flipkd.errors import ConfigError, shorten

MAX_FILE_BYTES = 256 * 1024  # bytes of a YAML file
MAX_VALUES = 20_000  # nodes of a YAML document with its aliases expanded
MAX_NUMBER_LENGTH = 100  # characters


class _Loader(yaml.SafeLoader):
    """Safe YAML loader: keys `no` and `yes` are strings, `1e-8` is a number, and the expansion of aliases is bounded."""

    def get_single_node(self) -> yaml.Node | None:
        """Return the document. Raises ConstructorError when its expanded aliases are more than MAX_VALUES nodes."""
        node = super().get_single_node()
        if node is not None:
            self._count_nodes(node, {})
        return node

    def _count_nodes(self, node: yaml.Node, known: dict[int, int]) -> int:
        """Count the nodes below this one with aliases expanded; a node that contains itself counts as too large."""
        if id(node) not in known:
            known[id(node)] = MAX_VALUES  # until it is counted: the value for a node that contains itself
            children: list[yaml.Node] = []
            if isinstance(node, yaml.SequenceNode):
                children = node.value
            elif isinstance(node, yaml.MappingNode):
                children = [part for pair in node.value for part in pair]
            known[id(node)] = 1 + sum(self._count_nodes(child, known) for child in children)
        if known[id(node)] > MAX_VALUES:
            problem = f"its aliases (*name) expand to more than {MAX_VALUES:,} values"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return known[id(node)]

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """Return the tag of a node; a scalar too long for a number is a string, so that no pattern scans its digits."""
        if kind is yaml.ScalarNode and len(value) > MAX_NUMBER_LENGTH:
            implicit = (False, implicit[1])
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping; yaml calls this. A duplicate key is an error, where yaml would keep the last one."""
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:bool":
                key.tag = "tag:yaml.org,2002:str"
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("+-.0123456789"))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file. Raises ConfigError when it is not readable or not a mapping."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: has {size:,} bytes; a file of settings has at most {MAX_FILE_BYTES:,}")
        values = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; give a YAML file of settings") from None
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        # A missing colon is noticed at the next key; its own line is that of the context.
        mark = error.context_mark if "expected ':'" in str(error.problem) else error.problem_mark
        position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(
            f"{path}: not readable as YAML ({position}{' '.join(str(error.problem).split())}); write one `key: value` per line "
            "and indent with spaces"
        ) from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path}: not a YAML mapping; write one `key: value` per line")
    return values


def read_value(text: str, where: str) -> Any:
    """Parse a text as YAML. Raises ConfigError with a message that begins with `where`."""
    try:
        return _Loader(text).get_single_data()
    except (ValueError, RecursionError, yaml.YAMLError):
        raise ConfigError(f"{where}: {shorten(text)} is not a YAML value; quote it") from None
