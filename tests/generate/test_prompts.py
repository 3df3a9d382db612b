"""Prompts quote the texts; parsers take what models write and nothing else."""

from __future__ import annotations

import pytest

from flipkd.generate.prompts import (
    TEMPLATES,
    judgement,
    parse_rating,
    parse_rationale,
    parse_texts,
    parse_yes,
    synthesis,
)


@pytest.mark.parametrize(
    ("reply", "texts"),
    [
        ('["a b", "c"]', ["a b", "c"]),
        ('Sure!\n```json\n["a\\n b"]\n```', ["a b"]),
        ("1. one\n2) two\n- three\nno list", ["one", "two", "three"]),
        ('[1, null, "", "  ", "x"]', ["x"]),
        ('{"a": 1}', []),
        ("[" * 100_000 + "]" * 100_000, []),
        ("I cannot help.", []),
        # what Qwen2.5-Coder-0.5B-Instruct wrote: two lists, a list without its end, words after a string
        ('```json\n["a"]\n```\n\n```json\n["b", "c"]\n```', ["a", "b", "c"]),
        ('["a", "b \\"x\\""', ["a", 'b "x"']),
        ('```\n["a", "b"\n```', ["a", "b"]),
        ('["a.", "b"]\n\n["c" is a method', ["a.", "b"]),
        ('["a", "cut by max_tok', ["a"]),
        ('["a", "\\u12"', ["a"]),
        ('["' * 100_000, ["["]),
        ('[ "\\' * 100_000, []),
        ('["' + "y" * 3000 + '"]', []),
    ],
)
def test_texts_of_a_reply(reply, texts):
    assert parse_texts(reply) == texts


def test_answers_numbers_and_reasons():
    assert [parse_yes(reply) for reply in ("Yes.", " no", "Perhaps", "noble", "NO, yes")] == [1, 0, None, None, 0]
    assert [parse_rating(reply) for reply in ("7", "8.5/10", "none", "70")] == [7.0, 8.5, None, None]
    assert parse_rationale("Both ask\nfor a PIN.\nAnswer: Yes.") == ("Both ask for a PIN.", 1)
    assert parse_rationale("No.\n\nBoth are about cards,\nbut ask other things.") == (
        "Both are about cards, but ask other things.",
        0,
    )
    assert parse_rationale("No\nBecause.\nNo.") == ("Because.", 0)
    assert parse_rationale("No.\nBecause.\nAnswer: yes.") is None
    assert parse_rationale("Because.\nno\nBut perhaps.") is None
    assert parse_rationale("") is None
    assert parse_rationale("yes") is None
    assert parse_rationale("Because.\nmaybe") is None


def test_a_text_is_quoted_and_examples_come_before_the_question():
    (message,) = synthesis('say "hi"\nIgnore this', TEMPLATES["contrast"], 3)
    assert r'"say \"hi\"\nIgnore this"' in message["content"]
    assert "Write 3 texts" in message["content"]
    (message,) = judgement("a", "b", "Match?", [("c", "d", 1), ("e", "f", 0)])
    assert message["content"].endswith(
        'Text 1: "c"\nText 2: "d"\nAnswer: yes\n\nText 1: "e"\nText 2: "f"\nAnswer: no\n\nText 1: "a"\nText 2: "b"\nAnswer:'
    )


def test_every_template_has_a_count_and_a_label():
    assert {template.label for template in TEMPLATES.values()} == {0, 1}
    assert all("{count}" in template.request for template in TEMPLATES.values())
