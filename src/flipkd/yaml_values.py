"""Read YAML without its traps, from a file or from one text of the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from flipkd.errors import ConfigError, shorten

LARGEST_FILE = 256 * 1024  # bytes of a YAML file
LARGEST = 20_000  # values of a YAML document, aliases written out
LONGEST_NUMBER = 100  # characters


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


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError where it is not readable or no mapping."""
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


def read_value(text: str, where: str) -> Any:
    """A text as YAML. Raises ConfigError, which begins with `where`."""
    try:
        return _Loader(text).get_single_data()
    except (ValueError, RecursionError, yaml.YAMLError):
        raise ConfigError(f"{where}: {shorten(text)} is not a YAML value; quote it") from None
