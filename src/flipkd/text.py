"""What counts as a text: at least one character that can be seen."""

from __future__ import annotations

import re

# Written out, since a table made from unicodedata at import would take longer than all else here; a test compares the two.
# A combining mark alone is visible: it is drawn on a dotted circle.
_VISIBLE = re.compile(
    "[^"
    r"\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ud800-\udfff"  # Cc, Z, Cs
    r"\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # Cf
    r"\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # Cf
    # Default_Ignorable_Code_Point of Unicode: Hangul fillers, vowels without a shape, variation selectors, tags.
    r"\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff"
    r"\u2800\U0001d159"  # symbols drawn as nothing: the Braille pattern without dots, the musical null notehead
    "]"
)


def first_visible(text: str) -> int:
    """The place of the first character that can be seen, -1 when there is none."""
    found = _VISIBLE.search(text)
    return -1 if found is None else found.start()


def is_empty(text: str) -> bool:
    """Nothing is left but white space, control characters and such as are drawn as nothing."""
    return _VISIBLE.search(text) is None


def beginning(text: str, most: int) -> str:
    """At most so many characters, from the first visible one on where others alone are more than that."""
    if len(text) <= most:
        return text
    start = first_visible(text)
    return text[:most] if start < most else text[start : start + most]
