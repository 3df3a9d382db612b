"""word_key and spelling_key: which texts are equal, in many scripts."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.data.folding import spelling_key, word_key

# Words that differ by one mark or vowel sign each, as a dictionary of the language has them.
BY_A_MARK = {
    "Hindi": ["दिन", "दान", "दीन", "दुना", "दून"],
    "Bengali": ["কাল", "কিল", "কুল", "কেল", "কোল"],
    "Gurmukhi": ["ਕਾਲ", "ਕਿਲ", "ਕੁਲ"],
    "Gujarati": ["કામ", "કુમ", "કેમ"],
    "Tamil": ["கல", "கலை", "காலை", "கிலி"],
    "Telugu": ["కల", "కాల", "కీలు", "కోల"],
    "Kannada": ["ಕಲ", "ಕಾಲ", "ಕೋಲ"],
    "Malayalam": ["കല", "കാല", "കോല"],
    "Sinhala": ["මල", "මාල", "මුල"],
    "Thai": ["กา", "ก้า", "ก่า", "กี", "กู", "มา", "ม้า", "หมา"],
    "Lao": ["ກາ", "ກີ", "ກຸ"],
    "Khmer": ["កា", "កី", "កូ", "កេ"],
    "Burmese": ["က", "ကာ", "ကို", "ကူ"],
    "Tibetan": ["ཀ", "ཀི", "ཀུ"],
    "Hebrew": ["סֵפֶר", "סָפַר", "סַפָּר"],
    "Arabic": ["كَتَبَ", "كُتِبَ", "كُتُب"],
    "Vietnamese": ["ma", "má", "mà", "mả", "mã", "mạ"],
    "German": ["schon", "schön"],
    "private": ["a\ue000", "a\ue001", "a\U000f0000"],
    "newer than Python's tables": ["a\U00011bff", "a\U00011bfe"],
}
BY_A_SYMBOL = [
    ["C", "C++", "C#", "C+", "C*"],
    ["A", "A+", "A-", "A*", "A--"],
    ["5", "-5", "+5", ".5", "5%", "$5", "€5", "#5"],
    ["15", "1.5", "-1.5"],
    ["12", "1 2"],
    ["105", "10⁵"],
    ["11/2", "1½ ", "112"],
    ["net", ".NET"],
    ["a = b", "a < b", "a > b"],
    ["user", "@user"],
    ["👍", "👎", "👍🏿"],
    ["?", "!", "..."],
    ["R&D", "RD"],
]
SAME = [
    ["text5 a?", "TEXT5A", "\uff54ext5\uff5b\uff5d  a!", "text5-a", "text5_a", "\u201ctext5 a\u201d"],
    ["e-mail", "email", "E\u2011Mail", "e\u2014mail", "e--mail"],
    ["don't", "don\u2019t", "dont", "don\u00b4t", "don`t"],
    ["caf\u00e9", "cafe\u0301", "CAFÉ"],
    ["a - b", "a b", "a \u2013 b", "- a b", "a... b."],
    ["❤", "❤\ufe0f"],
    ["zero\u200bwidth", "zerowidth", "zero\u00adwidth"],
    ["में", "में\u200d", " में। "],
    ["so, (A-)", "so A-", "so, A\u2212."],
    ["12:30", "12.30"],
    ["straße", "STRASSE"],
]


@pytest.mark.parametrize("words", [*BY_A_MARK.values(), *BY_A_SYMBOL], ids=lambda words: words[0])
def test_word_key_differs_for_different_words(words):
    for form in ("NFC", "NFD"):
        assert len({word_key(unicodedata.normalize(form, word)) for word in words}) == len(words)
        assert len({word_key(f"one {word} two") for word in words if word[0].isalnum()}) == sum(
            word[0].isalnum() for word in words
        )


@pytest.mark.parametrize("texts", SAME, ids=lambda texts: texts[0])
def test_word_key_ignores_spelling_and_punctuation(texts):
    assert {word_key(text) for text in texts} == {word_key(texts[0])}


@settings(deadline=None, max_examples=200)
@given(
    st.text(st.characters(categories=["L", "M", "Nd"]), max_size=8).map("a".__add__),
    st.sampled_from("?!,;:\u3002\u0964"),
)
def test_word_key_is_equal_for_normal_forms_and_sentences(text, mark):
    assert word_key(unicodedata.normalize("NFD", text)) == word_key(unicodedata.normalize("NFC", text))
    assert word_key(f" {text}{mark} ") == word_key(text)


def test_spelling_key_folds_case_width_and_spaces_but_not_powers():
    assert spelling_key("\uff21\u3000b ") == spelling_key("a B")
    assert spelling_key("a?") != spelling_key("a")
    assert spelling_key("10⁵ N") != spelling_key("105 N")


@pytest.mark.parametrize("hostile", ["-", " -", "-a", ". ", ".", "- ", "1 ", "\u0301", "\u0964"])
def test_word_key_takes_linear_time_on_hostile_texts(hostile):
    start = time.process_time()
    word_key(hostile * (1_000_000 // len(hostile)))
    assert time.process_time() - start < 3
