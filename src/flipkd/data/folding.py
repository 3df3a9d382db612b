"""Keys that decide which texts are equal: by words for splits and leaks, by spelling for duplicate pairs."""

from __future__ import annotations

import re
import unicodedata

# NFKC turns these into digits: 10⁵ would be 105, and 1½ would be 11⁄2.
_RAISED_AFTER_DIGIT = re.compile(r"(?<=\d)(?=[²³¹⁰-₉¼-¾⅐-⅞①-⓿])")
# Punctuation that distinguishes texts: C#, 5 %, R&D, A*, @user. Hyphen and full stop count only in some positions.
_DISTINGUISHING = "#%&*@"
_HYPHENS = "-\u2010\u2011\u2212"  # with the minus sign
_QUOTES = "`\u00b4"
# A full stop counts before a word (.NET), a hyphen at the start or end of a word (A-, -5), not inside or alone.
_LOOSE_STOP = re.compile(r"(?<=[^ ])\.|\.(?![^ .])")
_LOOSE_HYPHEN = re.compile(r"(?<=[^ ])-++(?=[^ ])|(?<![^ ])-++(?![^ ])")
_NOT_BETWEEN_DIGITS = re.compile(r"(?<!\d) | (?!\d)")
MARKS = 30  # combining marks in a row, as in Unicode's stream-safe text (UAX 15): Python sorts longer runs in quadratic time
JOINER = "\u034f"  # the combining grapheme joiner: marks are not sorted across it


def word_key(text: str) -> str:
    """Key by words: letters, marks, digits and symbols after NFKC and case folding.

    Spaces and punctuation are removed, except where they distinguish words (C++ and C#, A+ and A-, 1.5 and 15). If nothing
    is left, the key is the stripped text.
    """
    plain = _LOOSE_HYPHEN.sub(" ", _LOOSE_STOP.sub(" ", _folded(text).translate(_AS_WORDS)))
    return _NOT_BETWEEN_DIGITS.sub("", " ".join(plain.split())) or text.strip()


def spelling_key(text: str) -> str:
    """Key by spelling: the text after NFKC, case folding and white-space folding."""
    return " ".join(_folded(text).split())


def _folded(text: str) -> str:
    if text.isascii():
        return text.casefold()
    plain = _RAISED_AFTER_DIGIT.sub(" ", _stream_safe(text.replace("\u00b4", "'")))
    return unicodedata.normalize("NFKC", plain).casefold()


def _stream_safe(text: str) -> str:
    """Insert a joiner after every MARKS consecutive combining marks."""
    if len(text) <= MARKS:
        return text
    parts, start, run = [], 0, 0
    for position, mark in enumerate(map(unicodedata.combining, text)):
        run = run + 1 if mark else 0
        if run > MARKS:
            parts.append(text[start:position])
            start, run = position, 1
    return JOINER.join([*parts, text[start:]])


class _AsWords(dict[int, str]):
    """Table for `str.translate`; the replacement of each character is computed once."""

    def __missing__(self, code: int) -> str:
        self[code] = kept = _as_word(chr(code))
        return kept


def _as_word(character: str) -> str:
    if character in _HYPHENS:
        return "-"
    if character == "." or character in _DISTINGUISHING:
        return character
    name = unicodedata.name(character, "")
    category = unicodedata.category(character)
    if category == "Cf" or "VARIATION SELECTOR" in name or "GRAPHEME JOINER" in name:
        return ""  # invisible
    # Private and unassigned characters are kept: letters of a script that is newer than Python's tables.
    return " " if character in _QUOTES or category[0] in "ZP" or category in ("Cc", "Cs") else character


_AS_WORDS = _AsWords()
