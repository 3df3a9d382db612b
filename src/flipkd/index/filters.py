"""Filters of entries: a small part of SQL, checked here before the engine gets it, since clients of a server write them.

A filter compares columns with values and joins comparisons by and, or, not and parentheses. Other functions, comments and
several statements are refused: the engine would run functions that take gigabytes, and ignore what follows a semicolon.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from flipkd.errors import ConfigError, nearest, shorten

MOST_CHARACTERS = 2000
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>'(?:[^']|'')*+'(?!\w))
    |`(?P<quoted>[^`]+)`
    |(?P<word>[^\W\d]\w*(?!['\w]))
    |(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?!\w))
    |(?P<operator><=|>=|<>|!=|[=<>(),])""",
    re.VERBOSE,
)
KEYWORDS = frozenset(["and", "or", "not", "in", "is", "null", "like", "ilike", "between", "true", "false"])
FUNCTIONS = frozenset(["lower", "upper", "contains", "starts_with", "ends_with"])
_BEFORE_PARENTHESIS = FUNCTIONS | {"and", "or", "not", "in"}
EXAMPLE = "for example language = 'en' and price < 10"


def check_filter(where: str, columns: Collection[str]) -> str:
    """Return the filter with its column names in backticks. Raises ConfigError for anything but comparisons of `columns`."""
    if len(where) > MOST_CHARACTERS:
        raise ConfigError(f"the filter has {len(where):,} characters; at most {MOST_CHARACTERS:,} are allowed")
    if not where.strip():
        raise ConfigError(f"the filter is empty; write a comparison, {EXAMPLE}")
    names = {name.casefold(): name for name in columns}
    parts, position, before = [], 0, ""
    while position < len(where):
        token = _TOKEN.match(where, position)
        if token is None:
            raise ConfigError(
                f"the filter cannot be read at character {position + 1}: {shorten(where[position:], 40)}; compare columns "
                f"with numbers and with texts in single quotes, {EXAMPLE}"
            )
        word = token["word"] or ""
        if token["operator"] == "(" and before and before not in _BEFORE_PARENTHESIS:
            raise ConfigError(f"the filter has no function {shorten(before)}; {nearest(before, sorted(FUNCTIONS))}")
        parts.append(_column(token["quoted"] or word, names) if _is_name(token) else token[0])
        if token["space"] is None:
            before = (token["quoted"] or word).casefold()
        position = token.end()
    return "".join(parts)


def _is_name(token: re.Match[str]) -> bool:
    return token["quoted"] is not None or bool(token["word"] and token["word"].casefold() not in KEYWORDS | FUNCTIONS)


def _column(name: str, names: dict[str, str]) -> str:
    """Return a column's name in backticks; the functions of the engine are read as columns unless they are ours."""
    if name.casefold() not in names:
        raise ConfigError(
            f"the filter names {shorten(name)}, which is no column of the index; {nearest(name, list(names.values()))}; "
            "a text is in single quotes"
        )
    return f"`{names[name.casefold()]}`"
