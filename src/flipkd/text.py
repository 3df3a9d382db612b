"""Empty texts (no visible character), and the normal form in which models get a text."""

from __future__ import annotations

import re
import unicodedata

# A literal pattern, since building one from unicodedata at import would be slow; a test compares the two.
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
    """Return the position of the first visible character, -1 when there is none."""
    found = _VISIBLE.search(text)
    return -1 if found is None else found.start()


def is_empty(text: str) -> bool:
    """True when the text has only white space, control characters and other invisible characters."""
    return _VISIBLE.search(text) is None


def truncate_text(text: str, limit: int) -> str:
    """Cut a text to `limit` characters; they start at the first visible one when more invisible ones precede it."""
    if len(text) <= limit:
        return text
    start = first_visible(text)
    return text[:limit] if start < limit else text[start : start + limit]


# Characters without meaning: control characters other than white space, soft hyphen, zero-width and bidirectional marks, and
# Unicode's other Default_Ignorable_Code_Points (variation selectors, fillers, tags). Joiners are handled below.
IGNORABLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    r"\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
# A joiner changes how letters of these scripts are drawn, and joins several emoji into one; elsewhere it has no effect.
_JOINED = r"\u0600-\u0dff\u1000-\u109f\u1780-\u18af\u2190-\u21ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
JOINER = re.compile(f"(?<![{_JOINED}])[\u200c\u200d]+|[\u200c\u200d]+(?![{_JOINED}\u200c\u200d])|[\u200c\u200d]{{2,}}")
LONGEST_RUN = 2048  # longer words are not composed: Unicode's composition takes quadratic time


def normal_text(text: str) -> str:
    """Normalise a text by version 1 of the rules: `composed(folded(text))`. A normal text is returned unchanged."""
    return composed(folded(text))


def caseless(text: str) -> str:
    """Return the key of texts that differ in case alone once they are normal."""
    return normal_text(text).casefold()


def folded(text: str) -> str:
    """Remove characters without meaning, replace each run of white space by one space, and strip both ends."""
    text = IGNORABLE.sub("", text)
    return " ".join((text if text.isascii() else JOINER.sub("", text)).split())


def composed(text: str) -> str:
    """Convert words to NFC, and variants of letters and digits (width, mathematical fonts, ligatures) to plain ones.

    Case, punctuation, superscript digits and fractions stay. A word of more than LONGEST_RUN characters is not changed.
    """
    return text if text.isascii() else " ".join(map(_composed, text.split(" ")))


def _composed(word: str) -> str:
    if word.isascii() or len(word) > LONGEST_RUN:
        return word
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", word).translate(_VARIANTS))


class _Variants(dict[int, str]):
    """Table for `str.translate`, filled on the first use of each character."""

    def __missing__(self, code: int) -> str:
        self[code] = plain = _plain_form(chr(code))
        return plain


def _plain_form(character: str) -> str:
    tag, *codes = unicodedata.decomposition(character).split() or [""]
    if tag not in _VARIANT_TAGS and not "\ufb00" <= character <= "\ufb06":
        return character
    plain = "".join(chr(int(code, 16)) for code in codes)
    return plain if all(unicodedata.category(letter)[0] in "LMN" for letter in plain) else character


_VARIANT_TAGS = frozenset({"<font>", "<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>"})
_VARIANTS = _Variants()
