"""What counts as a text: at least one character that can be seen."""

from __future__ import annotations

import re
import unicodedata

_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_INVISIBLE = ("Z", "Cc", "Cf", "Cs")  # separators, control, format (zero width), half surrogates


def is_empty(text: str) -> bool:
    """Nothing is left but white space, control and zero-width characters."""
    return not _LETTER_OR_DIGIT.search(text) and all(unicodedata.category(c).startswith(_INVISIBLE) for c in text)
