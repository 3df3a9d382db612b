"""Cache keys of texts and pairs: sha256 hashes, equal only for equal texts."""

from __future__ import annotations

import hashlib


def text_key(text: str) -> bytes:
    """Return the 32-byte cache key of a text: sha256 of its length and its UTF-8 bytes, not normalised (NFC is not NFD)."""
    return hashlib.sha256(_length_prefixed(text)).digest()


def pair_key(left: str, right: str) -> bytes:
    """Return the 32-byte cache key of a pair; each text follows its length, so that ("ab", "c") is not ("a", "bc")."""
    return hashlib.sha256(_length_prefixed(left) + _length_prefixed(right)).digest()


def _length_prefixed(text: str) -> bytes:
    content = text.encode("utf-8", "surrogatepass")
    return len(content).to_bytes(8, "little") + content
