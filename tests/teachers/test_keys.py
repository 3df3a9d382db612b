"""Cache keys: equal only for equal texts, and the same in every process and version."""

from __future__ import annotations

import hashlib
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.teachers.keys import pair_key, text_key

PIECES = st.sampled_from(["a", "b", "\0", "\x01", ",", " ", "\u00e9", "e\u0301", "\ud800", "中", "😀"])
TEXT = st.lists(PIECES, max_size=5).map("".join)


@pytest.mark.scenario("C4")
@settings(deadline=None, max_examples=200)
@given(st.tuples(TEXT, TEXT), st.tuples(TEXT, TEXT))
def test_pair_key_and_text_key_are_equal_only_for_equal_texts(first, second):
    assert (pair_key(*first) == pair_key(*second)) == (first == second)
    assert (text_key(first[0]) == text_key(second[0])) == (first[0] == second[0])


@pytest.mark.scenario("C4")
def test_pair_key_and_text_key_do_not_change_between_processes_and_versions():
    assert pair_key("ab", "c") != pair_key("a", "bc")
    assert pair_key("a", "b") != pair_key("b", "a")
    composed = unicodedata.normalize("NFC", "é")
    assert text_key(composed) != text_key(unicodedata.normalize("NFD", composed))
    assert text_key("a") == hashlib.sha256(b"\x01" + b"\0" * 7 + b"a").digest()
    assert len(pair_key("", "")) == 32
