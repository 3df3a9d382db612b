"""Properties of texts: scripts, words, halves and distances."""

import numpy as np
import pytest

from flipkd.watch.texts import (
    NO_SCRIPT,
    effective_count,
    is_held_out,
    main_script,
    nearest_distances,
    new_word_share,
    shares,
    vocabulary,
    words,
)


@pytest.mark.parametrize(
    "text, script",
    [
        ("Was kostet die Karte?", "LATIN"),
        ("карта visa", "CYRILLIC"),
        ("我的卡丢了 visa", "CJK"),
        ("ホテル の", "KATAKANA"),
        ("٣ بطاقة", "ARABIC"),
        ("12:30 !", NO_SCRIPT),
        ("", NO_SCRIPT),
    ],
)
def test_the_main_script_is_that_of_most_letters(text, script):
    assert main_script(text) == script


def test_words_are_folded_and_characters_without_spaces_are_words():
    assert words("The  card's PIN, no. 7\u200b") == ["the", "card", "s", "pin", "no", "7"]
    assert words("卡丢了visa") == ["卡", "丢", "了", "visa"]


def test_new_words_are_those_outside_the_vocabulary():
    known = vocabulary(["lost card", "blocked card"])
    assert new_word_share("Lost CARD", known) == 0.0
    assert new_word_share("lost passport", known) == 0.5
    assert new_word_share("?!", known) == 0.0


def test_half_of_the_texts_are_held_out_whatever_their_spacing():
    texts = [f"text number {number}" for number in range(400)]
    assert 160 < sum(map(is_held_out, texts)) < 240
    assert all(is_held_out(text) == is_held_out(f" {text.upper()}  ") for text in texts)


def test_nearest_distances_are_those_to_the_nearest_vector():
    known = np.eye(2, dtype=np.float32)
    assert nearest_distances(np.array([[0.6, 0.8], [1, 0]], np.float32), known) == pytest.approx([0.2, 0.0])
    assert len(nearest_distances(np.zeros((0, 2), np.float32), known)) == 0


def test_shares_are_in_falling_order():
    assert shares(["a", "b", "b", "b"]) == {"b": 0.75, "a": 0.25}


def test_repeated_texts_are_worth_fewer():
    assert effective_count(["a", "b", "c"]) == 3
    assert effective_count(["a"] * 5) == 1
    assert effective_count(["a", "a", "b", "c"]) == pytest.approx(16 / 6)
    assert effective_count([]) == 0
