"""Distractors: a function of the draw alone, in one text of the pair, whose own words stay."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd.student.prompt import Template
from flipkd.text import is_empty, normal_text
from flipkd.training.augment import LOOK_ALIKES, augment_pair

LEFT, RIGHT = "where is my Card", "a fee for cash"
BACK = {ord(alike): chr(letter) for letter, alike in ((key, chr(value)) for key, value in LOOK_ALIKES.items())}


def test_augment_pair_with_draw_0_returns_the_pair():
    assert augment_pair(LEFT, RIGHT, 0, Template()) == (LEFT, RIGHT)


@given(st.integers(1, 2**31))
@settings(deadline=None)
def test_augment_pair_changes_one_text_and_keeps_its_words(draw):
    pair = augment_pair(LEFT, RIGHT, draw, Template())
    assert pair == augment_pair(LEFT, RIGHT, draw, Template())
    untouched = [found == text for found, text in zip(pair, (LEFT, RIGHT), strict=True)]
    assert any(untouched)
    for found, text in zip(pair, (LEFT, RIGHT), strict=True):
        assert text.casefold() in found.translate(BACK).casefold()


def test_augment_pair_draws_both_sides_and_every_kind():
    kinds = Counter()
    for draw in range(1, 2001):
        left, right = augment_pair(LEFT, RIGHT, draw, Template())
        kinds["left" if left != LEFT else "right"] += 1
        text, was = (left, LEFT) if left != LEFT else (right, RIGHT)
        kinds["upper"] += text == was.upper()
        kinds["look alike"] += len(text) == len(was) and text.translate(BACK) == was != text
        kinds["before"] += len(text) > len(was) and text.endswith(was)
        kinds["template"] += normal_text(Template().question) in normal_text(text)
    assert 800 < kinds["left"] < 1200
    assert all(kinds[kind] > 50 for kind in ("upper", "look alike", "before", "template"))


def test_augment_pair_uses_the_template_of_the_run():
    template = Template(right="\nOffer B:\n", question="\nSame product:", yes=" ja", no=" nein")
    texts = [text for draw in range(1, 500) for text in augment_pair(LEFT, RIGHT, draw, template)]
    assert any("\nOffer B:\n" in text for text in texts)
    assert any(text.endswith("\nSame product: ja") for text in texts)
    assert not any("Match, yes or no" in text for text in texts)


def test_augment_pair_of_a_text_without_letters():
    for draw in range(1, 300):
        assert not any(map(is_empty, augment_pair("日", "7", draw, Template())))
