"""Lookup of an object by name: a key of a table, or `package.module:name`; an unknown name lists the keys."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from flipkd.errors import ConfigError, nearest


def pick(table: Mapping[str, str], name: str, *, what: str) -> Any:
    """Import the object called `name`: a key of `table`, or an import path `package.module:name`.

    Values of the table are import paths too, so that only the chosen one is imported. `what` is the noun for messages.
    Raises ConfigError when the name is neither, with the nearest spelling and all keys, or when the import fails.
    """
    require_name(table, name, what=what)
    module_name, _, attribute = table.get(name, name).partition(":")
    try:
        return getattr(import_module(module_name), attribute)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise ConfigError(f"{what} {name!r} cannot be imported ({type(error).__name__}: {error})") from error


def require_name(table: Mapping[str, str], name: str, *, what: str) -> None:
    """Raise ConfigError when `name` is neither a key of `table` nor an import path; nothing is imported."""
    if not table.get(name, name).partition(":")[2]:
        raise ConfigError(
            f"no {what} is called {name!r}; {nearest(name, list(table))}, or your own as package.module:name"
        )
