"""Say in plain words what a value should have been, from the errors of pydantic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "a text in quotes",
    "list": "a list, such as [a, b]",
    "dict": "a mapping, such as {key: value}",
    "model": "a mapping, such as {key: value}",
}
"""By the first word of pydantic's name of the error, as in `int_parsing` and `int_type`."""
_BOUNDS = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "too_short": "{min_length} or more values",
    "too_long": "at most {max_length} values",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "string_pattern_mismatch": "a text that matches {pattern}",
    "literal_error": "{expected}",
}


def expected(problems: Iterable[Mapping[str, Any]], *, words: str = "; write") -> str:
    """Return the end of a message about a value: `words` and all that is allowed, or `: ...` with the reason.

    problems: errors of one value, as `pydantic.ValidationError.errors()` gives them; several for a union of types.

    Examples:
        >>> expected([{"type": "int_parsing", "msg": "Input should be a valid integer"}])
        '; write a whole number'
        >>> expected([{"type": "value_error", "msg": "Value error, 3 is odd"}])
        ': 3 is odd'
    """
    problems = list(problems)
    allowed = dict.fromkeys(filter(None, map(_allowed, problems)))
    if allowed:
        return f"{words} {', or '.join(allowed)}"
    return f": {', or '.join(dict.fromkeys(problem['msg'].removeprefix('Value error, ') for problem in problems))}"


def first_fault(error: ValidationError) -> str:
    """Return what is wrong with a file that a program wrote: its first wrong field, and what that must be."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    return f"{where}{expected([first], words=' must be')}"


def _allowed(problem: Mapping[str, Any]) -> str | None:
    kind = problem["type"]
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**problem["ctx"])
    return _TYPES.get(kind.split("_")[0])
