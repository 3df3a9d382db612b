"""What counts as a text: at least one character that can be seen; and how much of it is ever tokenised."""

from __future__ import annotations

import re
import unicodedata

_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_INVISIBLE = ("Z", "Cc", "Cf", "Cs")  # separators, control, format (zero width), half surrogates
CHARACTERS_PER_TOKEN = 16  # texts are cut here before tokenising: truncation by the tokenizer does not bound its work


def is_empty(text: str) -> bool:
    """Nothing is left but white space, control and zero-width characters."""
    return not _LETTER_OR_DIGIT.search(text) and all(unicodedata.category(c).startswith(_INVISIBLE) for c in text)


def beginning(text: str, most: int) -> str:
    """At most so many characters, from the first visible one on where blanks alone are more than that."""
    part = text[:most]
    if len(text) <= most or not is_empty(part) or is_empty(text):
        return part
    start = next(place for place, character in enumerate(text) if not is_empty(character))
    return text[start : start + most]
