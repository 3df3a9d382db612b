"""Distractors: a function of the draw alone, in one text of the pair, whose own words stay."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.student.prompt import Template
from flipkd.text import is_empty, normal_text
from flipkd.training.augment import LOOK_ALIKES, augmented

LEFT, RIGHT = "where is my Card", "a fee for cash"
BACK = {ord(alike): chr(letter) for letter, alike in ((key, chr(value)) for key, value in LOOK_ALIKES.items())}


def test_draw_0_is_the_pair_as_it_is():
    assert augmented(LEFT, RIGHT, 0, Template()) == (LEFT, RIGHT)


@given(st.integers(1, 2**31))
@settings(deadline=None)
def test_one_text_is_altered_and_its_words_stay(draw):
    pair = augmented(LEFT, RIGHT, draw, Template())
    assert pair == augmented(LEFT, RIGHT, draw, Template())
    untouched = [found == text for found, text in zip(pair, (LEFT, RIGHT), strict=True)]
    assert any(untouched)
    for found, text in zip(pair, (LEFT, RIGHT), strict=True):
        assert text.casefold() in found.translate(BACK).casefold()


def test_both_sides_and_every_kind_are_drawn():
    kinds = Counter()
    for draw in range(1, 2001):
        left, right = augmented(LEFT, RIGHT, draw, Template())
        kinds["left" if left != LEFT else "right"] += 1
        text, was = (left, LEFT) if left != LEFT else (right, RIGHT)
        kinds["upper"] += text == was.upper()
        kinds["look alike"] += len(text) == len(was) and text.translate(BACK) == was != text
        kinds["before"] += len(text) > len(was) and text.endswith(was)
        kinds["template"] += normal_text(Template().question) in normal_text(text)
    assert 800 < kinds["left"] < 1200
    assert all(kinds[kind] > 50 for kind in ("upper", "look alike", "before", "template"))


def test_the_strings_are_made_of_the_runs_own_template():
    template = Template(right="\nOffer B:\n", question="\nSame product:", yes=" ja", no=" nein")
    texts = [text for draw in range(1, 500) for text in augmented(LEFT, RIGHT, draw, template)]
    assert any("\nOffer B:\n" in text for text in texts)
    assert any(text.endswith("\nSame product: ja") for text in texts)
    assert not any("Match, yes or no" in text for text in texts)


def test_a_text_without_letters_is_left_or_gets_a_string():
    for draw in range(1, 300):
        assert not any(map(is_empty, augmented("日", "7", draw, Template())))
