"""Mapping of our column names to those of a file: by name and alias, never by order."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from flipkd.errors import DataError, UsageError, nearest, shorten

TEXT_ALIASES = (
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("query", "document"),
)
OTHER_ALIASES = {
    "label": ("label", "labels", "is_duplicate", "match", "gold"),
    "score": ("score", "teacher_score", "similarity"),
    "group": ("group", "cluster", "answer_id"),
}
_OURS = ["text1", "text2", *OTHER_ALIASES]
_SHOWN = 20
_SEPARATORS = ";\t|^~:\x01\x1f\xa6"  # that a header with one column may have


def find_columns(present: list[str], columns: Mapping[str, str] | None, name: str) -> dict[str, str]:
    """Map our column names to the file's: text1 and text2 first, then label, score and group where they exist.

    `columns` overrides the aliases, which are compared case-insensitively. `name` is the file's, for errors. Raises
    UsageError for a key of `columns` that is not one of our names, DataError for a missing or ambiguous column.
    """
    chosen = _mapped(present, dict(columns or {}), name)
    for ours, theirs in _text_columns(present, chosen, name).items():
        chosen[ours] = theirs
    for ours, aliases in OTHER_ALIASES.items():
        if ours in chosen:
            continue
        found = list(dict.fromkeys(column for alias in aliases for column in _named(alias, present, chosen)))
        if len(found) > 1:
            raise DataError(f"{name}: ambiguous {ours} column: {_listed(found)}; {_choose(ours)}")
        if found:
            chosen[ours] = found[0]
    return {ours: chosen[ours] for ours in _OURS if ours in chosen}


def _mapped(present: list[str], columns: dict[str, str], name: str) -> dict[str, str]:
    for ours, theirs in columns.items():
        if ours not in _OURS:
            raise UsageError(f"--columns: unknown column {shorten(ours)}; {nearest(ours, _OURS)}")
        if theirs not in present:
            raise DataError(
                f"{name}: has no column {shorten(theirs)}, given as {ours} in --columns; it has {_listed(present)}"
            )
        if list(columns.values()).count(theirs) > 1:
            raise UsageError(f"--columns: {shorten(theirs)} is given twice; use a different column for each name")
    return columns


def _text_columns(present: list[str], chosen: dict[str, str], name: str) -> dict[str, str]:
    found = {
        (left, right): None
        for first, second in TEXT_ALIASES
        for left in ([chosen["text1"]] if "text1" in chosen else _named(first, present, chosen))
        for right in ([chosen["text2"]] if "text2" in chosen else _named(second, present, chosen))
    }
    if not found and len(present) == 1 and (mark := next((mark for mark in _SEPARATORS if mark in present[0]), None)):
        raise DataError(
            f"{name}: the header has only one column, {shorten(present[0])}; the separator seems to be "
            f"{shorten(mark)}; save the file with commas, or with tabs and the ending .tsv"
        )
    if not found:
        known = ", ".join("/".join(aliases) for aliases in TEXT_ALIASES)
        label = ["label"] if _unnamed_label(present, chosen) else []
        raise DataError(
            f"{name}: no text columns found; it has {_listed(present)}; known names: {known}; "
            f"{_choose('text1', 'text2', *label, present=present)} (a csv or tsv file needs a header line)"
        )
    if len(found) > 1:
        both = " and ".join(_listed(list(columns), between="/") for columns in found)
        raise DataError(f"{name}: ambiguous text columns: {both}; {_choose('text1', 'text2')}")
    left, right = next(iter(found))
    return {"text1": left, "text2": right}


def _unnamed_label(present: list[str], chosen: dict[str, str]) -> bool:
    """True for a file without a known name of the label, but with a column whose name is close to one."""
    known = any(_named(alias, present, chosen) for alias in OTHER_ALIASES["label"])
    return "label" not in chosen and not known and _nearest_column("label", present) is not None


def _named(alias: str, present: list[str], chosen: dict[str, str]) -> list[str]:
    taken = set(chosen.values())
    return [column for column in present if column.strip().casefold() == alias and column not in taken]


def _choose(*ours: str, present: Sequence[str] = ()) -> str:
    """Options that choose a column for each of our names: the nearest of `present`, or NAME to fill in."""
    options = []
    rest = list(present)
    for name in ours:
        near = _nearest_column(name, rest)
        rest = [column for column in rest if column != near]
        options.append("--columns " + (shlex.quote(f"{name}={near}") if near else f"{name}=NAME"))
    return "choose with " + " ".join(options)


def _nearest_column(ours: str, present: Sequence[str]) -> str | None:
    """The column that is spelt like our name or an alias of it (`Question 1`, `is-duplicate`), or nearly like our name."""
    sides = {side: [pair[side] for pair in TEXT_ALIASES] for side in (0, 1)}
    aliases = {"text1": sides[0], "text2": sides[1], **OTHER_ALIASES}[ours]
    squeezed = {_squeezed(alias) for alias in aliases}
    if alike := [column for column in present if _squeezed(column) in squeezed]:
        return alike[0]
    near = {key: column for column in present if (key := column.strip().casefold()) not in _OURS}
    close = get_close_matches(ours, near, n=1, cutoff=0.75)
    return near[close[0]] if close else None


def _squeezed(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.casefold())


def _listed(columns: list[str], *, between: str = ", ") -> str:
    rest = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    return between.join(shorten(column) for column in columns[:_SHOWN]) + rest
