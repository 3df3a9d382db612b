"""Choices by name: a row of a table, or `package.module:name` for one's own; a miss lists the rows."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from flipkd.errors import ConfigError, nearest


def pick(table: Mapping[str, str], name: str, *, what: str) -> Any:
    """The object that `name` stands for: a key of `table`, or an import path `package.module:name`.

    Rows are import paths themselves, so that a table costs nothing until one of its rows is used.
    Raises ConfigError when the name is neither, with the nearest spelling and all rows.
    """
    path = table.get(name, name)
    module_name, _, attribute = path.partition(":")
    if not attribute:
        raise ConfigError(
            f"no {what} is called {name!r}; {nearest(name, list(table))}, or your own as package.module:name"
        )
    try:
        return getattr(import_module(module_name), attribute)
    except Exception as error:  # whatever a user's own module raises while it is imported
        raise ConfigError(f"{what} {name!r} cannot be imported ({type(error).__name__}: {error})") from error
